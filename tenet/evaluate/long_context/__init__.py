"""Questions about long texts, made to the exact number of tokens: RULER's tasks, a needle grid, the effective length."""
