//! Backups: what a gateway keeps, with its keys, in one encrypted file.
//!
//! | where | what |
//! |---|---|
//! | [`age`] | the encryption: the format of the program `age`, with a passphrase |
//! | [`archive`] | what is inside: lines of JSON, the last of which says that nothing is missing |
//! | [`held`] | the snapshot that a running gateway holds while a backup of it is fetched |
//! | [`keys_folder`] | the files of `keys_dir` in it |
//! | [`staging`] | files that take the place of others, whole or not at all |
//!
//! Owns: the file and its form. Not: what the rows of a store mean (`gateway-store`), who may ask for them
//! (`admin`), the commands (`cli::backup`, `cli::restore`).

pub mod age;
pub mod archive;
pub mod held;
pub mod keys_folder;
pub mod staging;
