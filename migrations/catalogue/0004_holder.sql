-- Who took this read model over last: nobody else moves its checkpoint. Null: nobody yet.
alter table checkpoint add column holder uuid;

-- How many events of ours were read up to the checkpoint: how fast it goes is told from that.
alter table checkpoint add column events bigint not null default 0;
