"""Where sessions go and how they fare: places, regions, residency, provider health, status."""
