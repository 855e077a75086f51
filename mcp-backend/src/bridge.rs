//! `mcp-backend bridge -- COMMAND …`: an MCP server that speaks on stdin and stdout, put behind
//! Streamable HTTP in what it speaks itself.
//!
//! Owns: processes, and whose message goes where. Not: translation between revisions, which is the
//! gateway's. Begin at [`run`].
//!
//! | module | what it owns |
//! |---|---|
//! | [`options`], [`run`] | command line, start and end |
//! | [`http`] | the transport to the front, with sessions and without |
//! | [`session`] | a client's session |
//! | [`pool`] | who gets a process, and how many; starting, its first words, resting, starting again |
//! | [`connection`] | the conversation with one process: what is pending, and where each message goes |
//! | [`child`], [`reaper`] | the process: pipes, limits, the log of stderr, an end without orphans |
//! | [`failure`] | why there is no answer, in words for the client |
//!
//! # Who speaks what
//!
//! A server with sessions is served with sessions (2025-03-26 to 2025-11-25): one that knows
//! `server/discover`, without (2026-07-28): one that knows both, in both. It is found out once, by a
//! first process, and a second where the first has no session, or has ended at `server/discover`, as
//! servers made with older Rust SDKs do: it is asked to `initialize` alone. A refusal of the bridge itself
//! is one by a server with sessions. What the server does not speak is refused with 400, in the words
//! by which clients, and the gateway, find out: -32022 with what is spoken where there are no
//! sessions, and otherwise -32600, as by a server that has never heard of 2026-07-28.
//!
//! Passing on changes a message's `id` and progress token, and nothing else: order, unknown members
//! and the forms of numbers stay.
//!
//! # Who gets a process
//!
//! By default each session has one of its own, and each client without sessions has one for each
//! person: servers on stdio are written for one user, and keep state, roots and a log level for
//! one. It costs memory; idle processes are stopped, and started again, with the same handshake,
//! when the session goes on. With `--process shared` all use one, in one revision family. With
//! sessions it is told of no capabilities of clients, since theirs differ; it can ask nobody anything;
//! and what it logs is told to nobody, because a log message names no session.
//!
//! Of all places for processes one connection of one app has at most half, one person three
//! quarters: the gateway names person, client and grant in headers. Whoever needs one more than
//! there are stops the one of theirs, or else of all, that was idle for longest.
//!
//! The gateway's own look at what a server offers names nobody. It goes to one process that is kept
//! for that: the one that `--warm-up` started. A consent page starts none, and who gives up waiting
//! does not end a start that is under way.
//!
//! A process of its own learns what its client said in `initialize`, byte for byte. A client
//! without sessions is told apart by the person and client that the gateway names, and by what it
//! says of itself in `_meta`, since servers offer different tools to clients that can do different
//! things. On an address that others can reach nobody is believed to speak for a person, unless the
//! operator says that only the gateway can (`--trust-identity-headers`).
//!
//! # What the server says unasked
//!
//! | it says | a session gets it | a client without sessions gets it |
//! |---|---|---|
//! | progress | on the stream of the request | on the stream of the request |
//! | log message | on the stream of the newest request, else on its open stream | on the stream of the newest request that asked for log messages |
//! | something changed | on its open stream, else with the newest request | on the `subscriptions/listen` that it names |
//! | `sampling`, `elicitation`, `roots` | as a question, on the stream of the newest request or its open stream | 2026-07-28 has no such requests: the server gets the error -32601 |
//! | the same, with no such call under way | waits 30 s for a stream, then the server gets the error -32603 | the same |
//! | `ping` | as a question, or is answered here | is answered here |
//!
//! A stream that breaks is not resumed (`Last-Event-ID`). `x-mcp-header` in tools is not looked at: the
//! arguments in the body count.

pub mod child;
pub mod connection;
pub mod failure;
pub mod http;
pub mod options;
pub mod pool;
pub mod reaper;
pub mod run;
pub mod session;
