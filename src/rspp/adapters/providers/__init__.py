"""Providers: what hears, thinks and speaks. Each package serves one vendor, protocol or kind of runtime."""
