#![no_main]

kinolog_eventstore_fuzz::target!(index);
