"""Vision-language models of `transformers`: what each is, how it reads images and text, how it is loaded."""
