-- The builds of each read model. Readers read the one that serves; all are followed until they are dropped.
create table generations (
    read_model text not null,
    generation bigint not null,
    -- Of the projection that began it: a newer one begins another.
    version bigint not null,
    -- building, serving, kept (it served before), refused (it is not what serves says) or dropped
    state text not null check (state in ('building', 'serving', 'kept', 'refused', 'dropped')),
    since timestamptz not null default now(),
    -- Whether it is to serve even if it is not equal to what serves.
    accepted boolean not null default false,
    -- Of a refused one: where it differs.
    note text,
    primary key (read_model, generation)
);
create unique index generations_serving on generations (read_model) where state = 'serving';

-- What was built before there were generations.
insert into generations (read_model, generation, version, state)
select read_model, 1, 1, 'serving' from unnest(array['catalogue', 'announcements', 'popularity']) as read_model
where to_regnamespace('catalogue_g1') is not null;

create function begin_schema(name text) returns void language plpgsql as $$
begin
    execute format('create schema if not exists %I', name);
end $$;

create function drop_schema(name text) returns void language plpgsql as $$
begin
    execute format('drop schema if exists %I cascade', name);
end $$;

-- What the tables of a read model say, whatever the order of their rows.
create function digests(of_schema text) returns table (of_table text, row_count bigint, digest numeric)
language plpgsql as $$
declare
    each text;
begin
    for each in
        select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = of_schema and c.relkind = 'r'
            and c.relname not in ('checkpoint', '_sqlx_migrations')
        order by c.relname
    loop
        return query execute format(
            'select %L::text, count(*), coalesce(sum(hashtextextended(t::text, 0)), 0)::numeric from %I.%I t',
            each, of_schema, each);
    end loop;
end $$;
