-- What the engine of the read models knows beside the read models themselves. Runs with
-- search_path = read_models.

-- Who writes a read model, until when by this server's clock. Others stand by.
create table leases (
    name text primary key,
    holder uuid not null,
    until timestamptz not null
);
