"""Worker programs that are ours. Each is started by the fleet, one process per loaded model."""
