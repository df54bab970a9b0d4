"""What the daemon tells its operators: structured logs and metrics. Every room but domain may use it."""
