"""Who may do what: policy documents as pure functions, what SkyPilot may, the roles of training and of Bedrock."""
