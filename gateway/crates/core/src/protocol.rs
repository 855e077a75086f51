//! The words of the wire: types that parse strictly and can't be wrong afterwards. No I/O, no
//! knowledge of any other floor.

pub mod bearer;
pub mod challenge;
pub mod form;
pub mod oauth;
pub mod pkce;
pub mod published;
pub mod redirect_uri;
pub mod resource;
pub mod scope;
pub mod web;
pub mod web_origin;
