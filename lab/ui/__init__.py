"""The pages. The only room that imports gradio; it assembles and reads, and decides nothing."""
