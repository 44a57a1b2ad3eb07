//! `sharemap stat CHANNEL`: shows the messages, the waits and the ends of a channel.

use crate::commands::objects::{self, Attached};
use crate::failure::Failure;
use crate::output::Output;
use crate::text::Text;
use crate::units;
use console::Style;
use serde::Serialize;
use sharemap::inspect::Inspection;

/// A channel, as JSON describes it.
#[derive(Serialize)]
pub(super) struct Channel {
    channel: String,
    kind: String,
    state: &'static str,
    capacity: u64,
    sent: u64,
    received: u64,
    depth: u64,
    send_waits: u64,
    receive_waits: u64,
    senders: u32,
    receivers: u32,
    participants: Vec<Attached>,
    max_participants: u32,
}

/// Describes the object of this name, if it is a channel.
pub(super) fn look(name: &str, look: &Inspection) -> Result<Option<Channel>, Failure> {
    let Some(stats) = look.channel()? else { return Ok(None) };
    Ok(Some(Channel {
        channel: name.into(),
        kind: objects::kind(look),
        state: objects::state(look)?,
        capacity: stats.capacity,
        sent: stats.sent,
        received: stats.received,
        depth: stats.depth,
        send_waits: stats.send_waits,
        receive_waits: stats.receive_waits,
        senders: stats.senders,
        receivers: stats.receivers,
        participants: look.participants()?.iter().map(Attached::of).collect(),
        max_participants: look.facts().map_or(0, |facts| facts.participants),
    }))
}

/// Prints the values, below those of the channel's file if they were printed.
pub(super) fn print(channel: &Channel, has_file: bool, output: &mut Output) -> Result<(), Failure> {
    let Channel { capacity, sent, received, depth, .. } = *channel;
    if !has_file {
        output.line(Text::styled(&Style::new().bold(), &channel.channel))?;
    }
    output.field("channel", format!("{}, {}", channel.kind, channel.state))?;
    output.field(
        "messages",
        format!("{depth} of at most {capacity}; {sent} sent, {received} received"),
    )?;
    let times = |count| units::count(count, "time");
    output.field(
        "sleeps",
        format!(
            "senders {}, receivers {}",
            times(channel.send_waits),
            times(channel.receive_waits)
        ),
    )?;
    let ends = |count: u32, end| units::count(count.into(), end);
    output.field(
        "ends",
        format!("{}, {}", ends(channel.senders, "sender"), ends(channel.receivers, "receiver")),
    )?;
    objects::print_participants(&channel.participants, channel.max_participants, output)
}
