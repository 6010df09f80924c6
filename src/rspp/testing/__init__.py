"""For tests of pipelines and of RSPP itself: a rig that drives one kernel by hand, in virtual time."""
