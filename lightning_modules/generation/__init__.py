"""The one engine that makes tokens: rollouts, evaluation, red team and the endpoint all use it."""
