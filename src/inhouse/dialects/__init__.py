"""Wire formats as pure codecs: no HTTP framework, no await. A dialect is never built on another."""
