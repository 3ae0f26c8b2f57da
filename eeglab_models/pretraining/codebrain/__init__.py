"""CodeBrain's two stages: a tokenizer that turns patches into codes, and the prediction of hidden codes.

`tokenizer` is the first stage, made of a `neural_encoder` and two codebooks (`codebook`); `code_prediction`
is the second. Import `TFDualTokenizer`, `CodePrediction` and `check_codebooks`, best from the room above,
and `describe_codes` from `codebook`. They build on models, training and `objective`, and on no other
model's folder.
"""
