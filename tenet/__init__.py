"""The ten steps: from raw text to an assistant that answers over the Bedrock Runtime API."""
