"""One machine's processes: started warm, watched, restarted, stopped and cleaned up."""
