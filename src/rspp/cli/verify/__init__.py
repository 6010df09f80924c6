"""`rspp verify`: engines that look for one kind of fault each, run under a manifest."""
