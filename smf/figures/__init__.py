"""The drawing kit that figures share: style, captions, legends, labels. No torch, no settings, no file reading."""
