"""CodeBrain's two stages: a tokenizer that turns patches into codes, and the prediction of hidden codes."""
