"""What tests share: builders of inputs, references, processes, streams of nights, stand-ins."""
