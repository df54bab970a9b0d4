"""Sinks: where events go. Each implements the port `Sink`; what is due when is the courier's business."""
