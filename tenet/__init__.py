"""The ten steps: from raw text to an assistant that answers over an AWS-Bedrock-compatible API."""
