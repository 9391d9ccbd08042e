//! The schema of events: one for each topic, distinguished by `event`.

use crate::api::routes::chain::SyncEvent;
use crate::api::routes::jobs::Job;
use crate::api::routes::mining::HashrateEvent;
use crate::api::routes::peers::PeerEvent;
use crate::events::Topic;
use crate::events::data::{
    ConfirmedTransfer, ConnectedBlock, DisconnectedBlock, DroppedTransfer, Reorg, Reset, Transfer,
};
use crate::mining::workers::WorkerEvent;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::marker::PhantomData;

/// Declares the data of the events of each topic.
macro_rules! event_data {
    ($($topic:ident: $data:ty;)*) => {
        /// The schemas of all topics, by name.
        fn of_topics(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)> {
            vec![$((
                Topic::$topic.name(),
                generator.subschema_for::<TopicEvent<$data, { Topic::$topic as usize }>>(),
            )),*]
        }
    };
}

event_data! {
    BlockConnected: ConnectedBlock;
    BlockDisconnected: DisconnectedBlock;
    Reorg: Reorg;
    TransactionAccepted: Transfer;
    TransactionDropped: DroppedTransfer;
    TransactionConfirmed: ConfirmedTransfer;
    JobUpdated: Job;
    PeerConnected: PeerEvent;
    PeerDisconnected: PeerEvent;
    SyncProgress: SyncEvent;
    MiningHashrate: HashrateEvent;
    WorkerSilent: WorkerEvent;
    WorkerActive: WorkerEvent;
}

/// Any event. A WebSocket message has these members; a server-sent event has fields of these names.
pub(super) struct AnyEvent;

impl JsonSchema for AnyEvent {
    fn schema_name() -> Cow<'static, str> {
        "Event".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schemas = of_topics(generator);
        schemas.push((RESET, generator.subschema_for::<ResetEvent>()));
        let mapping: Map<String, Value> = schemas
            .iter()
            .filter_map(|(name, schema)| Some(((*name).to_owned(), schema.get("$ref")?.clone())))
            .collect();
        let schemas: Vec<Schema> = schemas.into_iter().map(|(_, schema)| schema).collect();
        json_schema!({
            "description": "An event.",
            "oneOf": schemas,
            "discriminator": {"propertyName": "event", "mapping": mapping},
        })
    }
}

/// An event of the topic with this code, with its data.
struct TopicEvent<T, const CODE: usize>(PhantomData<T>);

impl<T: JsonSchema, const CODE: usize> JsonSchema for TopicEvent<T, CODE> {
    fn schema_name() -> Cow<'static, str> {
        let words = Topic::ALL[CODE].name().split('.');
        let capitalized = words.map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_uppercase() + rest
        });
        (capitalized.collect::<String>() + "Event").into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let topic = Topic::ALL[CODE];
        event::<T>(generator, topic.name(), topic.description())
    }
}

/// The name of an event that has no topic.
const RESET: &str = "reset";

/// The event that reports lost events.
struct ResetEvent;

impl JsonSchema for ResetEvent {
    fn schema_name() -> Cow<'static, str> {
        "ResetEvent".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        event::<Reset>(generator, RESET, "Missed events are gone: request the state again.")
    }
}

/// The schema of an event with this data, which also has its number and time.
fn event<T: JsonSchema>(generator: &mut SchemaGenerator, name: &str, description: &str) -> Schema {
    let mut data = T::json_schema(generator).to_value();
    let number = json!({"type": "integer", "minimum": 0, "description": "The id of the event."});
    let time = json!({"type": "integer", "minimum": 0, "description": "The time of the event, Unix seconds."});
    for (name, schema) in [("number", number), ("time", time)] {
        data["properties"][name] = schema;
        if let Some(required) = data["required"].as_array_mut() {
            required.push(name.into());
        }
    }
    json_schema!({
        "type": "object",
        "description": description,
        "required": ["event", "id", "data"],
        "properties": {
            "event": {"type": "string", "const": name},
            "id": {
                "type": "integer", "minimum": 0,
                "description": "A number that only grows, also over restarts.",
            },
            "data": data,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_has_a_schema() {
        let mut generator = SchemaGenerator::default();
        let names: Vec<&str> =
            of_topics(&mut generator).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, Topic::ALL.iter().map(|topic| topic.name()).collect::<Vec<_>>());
    }
}
