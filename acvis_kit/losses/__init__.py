"""What training minimises: the network's output against the truth. Never used at inference."""
