"""What runs, and under which policy: documents and their versions, rollouts, graphs, and the view that a process has of them."""
