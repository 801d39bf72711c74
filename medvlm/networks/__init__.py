"""Networks, composed of blocks, encoders, decoders and heads; ``medvlm.networks.nets`` holds what a bundle names."""
