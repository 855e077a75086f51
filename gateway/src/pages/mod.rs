//! The pages that people see: values in, escaped HTML out. No I/O, no clock.
