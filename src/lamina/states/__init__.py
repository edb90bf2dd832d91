"""What a model holds: named arrays that belong together, and the wrapped grid."""
