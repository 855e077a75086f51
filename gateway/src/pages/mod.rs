//! Pages: data in, escaped HTML out; templates beside, in `gateway/templates`.
