//! `mcp-backend bridge -- COMMAND …`: an MCP server that speaks on stdin and stdout, put behind HTTP
//! for clients of every revision.
//!
//! | module | what it owns |
//! |---|---|
//! | [`options`], [`run`] | command line, start and end |
//! | [`http`], [`streamable`], [`stateless`], [`legacy`], [`reply`] | the three transports to the front |
//! | [`session`], [`translated`] | a client's session, in front of a server of its own revision family or of the other |
//! | [`pool`], [`server`], [`places`] | who gets a process, and how many; starting, resting, starting again |
//! | [`link`], [`exchange`], [`questions`], [`outbox`], [`subscribers`] | the conversation with one process: what is pending, and where each message goes |
//! | [`child`], [`reaper`] | the process: pipes, limits, the log of stderr, an end without orphans |
//! | [`failure`] | why there is no answer, in words for the client |
//!
//! # Who gets a process
//!
//! By default each session has one of its own, and each client without sessions has one for each
//! person: servers on stdio are written for one user, and keep state, roots and a log level for
//! one. It costs memory; idle processes are stopped, and started again, with the same handshake,
//! when the session goes on. With `--process shared` all use one. Then the process is told of no
//! capabilities of clients, since theirs differ; it can ask nobody anything; and what it logs is
//! told to nobody, because a log message names no session.
//!
//! Of all places for processes one connection of one app has at most half, one person three
//! quarters: the gateway names person, client and grant in headers. Whoever needs one more than
//! there are stops the one of theirs, or else of all, that was idle for longest.
//!
//! The gateway's own look at what a server offers comes without a session and names nobody. It goes
//! to one process that is kept for that: the one that `--warm-up` started. A consent page starts
//! none, and who gives up waiting does not end a start that is under way.
//!
//! A process of its own learns what its client said in `initialize`, byte for byte. A client
//! without sessions is told apart by the person and client that the gateway names, and by what it
//! says of itself in `_meta`, since servers offer different tools to clients that can do different
//! things. On an address that others can reach nobody is believed to speak for a person, unless the
//! operator says that only the gateway can (`--trust-identity-headers`).
//!
//! # Who speaks what
//!
//! | client | server knows `initialize` | server knows `server/discover` only |
//! |---|---|---|
//! | HTTP+SSE, Streamable HTTP with sessions | passed on | [`translated`] |
//! | 2026-07-28 | translated by [`mcp_protocol::to_stateful`] | passed on |
//!
//! A server of both revision families is spoken to in the client's. Passing on changes a message's `id` and
//! progress token, and nothing else: order, unknown members and the forms of numbers stay.
//!
//! # What the server says unasked
//!
//! | it says | a session gets it | a client without sessions gets it |
//! |---|---|---|
//! | progress | on the stream of the request | on the stream of the request |
//! | log message | on the stream of the newest request, else on its open stream | on the stream of the newest request that asked for messages of this level |
//! | something changed | on its open stream, else with the newest request | on `subscriptions/listen`, if it asked for it |
//! | `sampling`, `elicitation`, `roots` | as a question, on the stream of the newest request or its open stream | as `input_required`, in answer to the newest call that declared the capability; the retry goes on with the very same call, for 10 minutes |
//! | the same, with no such call under way | waits 30 s for a stream, then the server gets the error -32603 | the server gets the error -32601 |
//! | `ping` | as a question, or is answered here | is answered here |
//!
//! # What is not translated
//!
//! `x-mcp-header` in the tools of a server on stdio: the headers are not looked at, the arguments in
//! the body count. A stream that breaks is not resumed (`Last-Event-ID`). Notifications of a
//! stateless client have no meaning in 2026-07-28 and are dropped.

pub mod child;
pub mod exchange;
pub mod failure;
pub mod http;
pub mod legacy;
pub mod link;
pub mod options;
pub mod outbox;
pub mod places;
pub mod pool;
pub mod questions;
pub mod reaper;
pub mod reply;
pub mod run;
pub mod server;
pub mod session;
pub mod stateless;
pub mod streamable;
pub mod subscribers;
pub mod translated;
