"""What every process counts: Prometheus metrics whose label sets cannot grow with what users send."""
