//! The pages that people read, held to what is there: README, the manual in `conf/documents`,
//! `gateway/ARCHITECTURE.md`, and the pages under `.github`.
//!
//! | module | what |
//! |---|---|
//! | [`pages`] | the pages, and the pieces of Markdown that the tests look at |
//! | [`links`] | every link, anchor, picture and named file is there |
//! | [`commands`] | every command line is one, every configuration is accepted |
//! | [`architecture`] | the walks of ARCHITECTURE.md lead through functions that exist |
//! | [`checkout`] | scripts keep their line ends, and pages that build say where |
//! | [`ignored`] | CONTRIBUTING lists the tests that are ignored |

mod architecture;
mod checkout;
mod commands;
mod ignored;
mod links;
mod pages;
