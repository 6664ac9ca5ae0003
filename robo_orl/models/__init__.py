"""Networks only: backbones, action heads, critics and their slow copies. They know no objective and no data loading."""
