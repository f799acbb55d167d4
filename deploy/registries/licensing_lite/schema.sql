-- The part of a LITE licensing database (PostgreSQL) that the mapping reads: table and column names are the real ones,
-- everything else was left out. For tests and for trying the mapping; a real database has all of this and more.

CREATE TABLE organisation (id uuid PRIMARY KEY, updated_at timestamptz NOT NULL, name text NOT NULL, eori_number text);

CREATE TABLE statuses_casestatus (id uuid PRIMARY KEY, status varchar(50) NOT NULL UNIQUE);

CREATE TABLE cases_case (
    id uuid PRIMARY KEY,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    reference_code varchar(30) UNIQUE,
    organisation_id uuid NOT NULL REFERENCES organisation (id),
    submitted_at timestamptz,
    status_id uuid REFERENCES statuses_casestatus (id)
);

CREATE TABLE applications_baseapplication (
    case_ptr_id uuid PRIMARY KEY REFERENCES cases_case (id),
    intended_end_use varchar(2200),
    foi_reason text NOT NULL
);

CREATE TABLE parties_party (
    id uuid PRIMARY KEY,
    updated_at timestamptz NOT NULL,
    name text NOT NULL,
    address text NOT NULL,
    country_id varchar(10) NOT NULL,
    signatory_name_euu text NOT NULL,
    type varchar(20) NOT NULL,
    role varchar(22),
    sub_type varchar(20) NOT NULL,
    copy_of_id uuid REFERENCES parties_party (id) ON DELETE SET NULL,
    phone_number varchar(50)
);

CREATE TABLE applications_partyonapplication (
    id serial PRIMARY KEY,
    updated_at timestamptz NOT NULL,
    application_id uuid NOT NULL REFERENCES applications_baseapplication (case_ptr_id),
    party_id uuid NOT NULL REFERENCES parties_party (id),
    deleted_at timestamptz
);

-- No time of change here: serial numbers that come late leave a trace in audit_trail_audit only.
CREATE TABLE goods_firearmgooddetails (
    id serial PRIMARY KEY,
    type text NOT NULL,
    year_of_manufacture smallint,
    calibre text NOT NULL,
    serial_numbers_available varchar(255),
    serial_number text NOT NULL,
    number_of_items integer,
    serial_numbers text[] NOT NULL
);

CREATE TABLE control_list_entry (id uuid PRIMARY KEY, rating varchar(100) NOT NULL UNIQUE);

CREATE TABLE good (
    id uuid PRIMARY KEY,
    updated_at timestamptz NOT NULL,
    name text NOT NULL,
    part_number varchar(255),
    firearm_details_id integer REFERENCES goods_firearmgooddetails (id)
);

CREATE TABLE good_control_list_entries (
    id serial PRIMARY KEY,
    good_id uuid NOT NULL REFERENCES good (id),
    controllistentry_id uuid NOT NULL REFERENCES control_list_entry (id)
);

CREATE TABLE applications_goodonapplication (
    id uuid PRIMARY KEY,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    application_id uuid NOT NULL REFERENCES applications_baseapplication (case_ptr_id),
    good_id uuid NOT NULL REFERENCES good (id),
    firearm_details_id integer REFERENCES goods_firearmgooddetails (id),
    quantity double precision,
    unit varchar(50),
    value numeric(15, 2)
);

CREATE TABLE licences_licence (
    id uuid PRIMARY KEY,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    reference_code varchar(30) NOT NULL UNIQUE,
    case_id uuid NOT NULL REFERENCES cases_case (id),
    status varchar(32) NOT NULL,
    start_date date NOT NULL,
    end_date date NOT NULL
);

CREATE TABLE licences_goodonlicence (
    id uuid PRIMARY KEY,
    updated_at timestamptz NOT NULL,
    good_id uuid NOT NULL REFERENCES applications_goodonapplication (id),
    licence_id uuid NOT NULL REFERENCES licences_licence (id),
    quantity double precision NOT NULL
);

CREATE TABLE cases_licencedecision (
    id uuid PRIMARY KEY,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    case_id uuid NOT NULL REFERENCES cases_case (id),
    decision varchar(50) NOT NULL,
    excluded_from_statistics_reason text
);

CREATE TABLE cases_licencedecision_denial_reasons (
    id serial PRIMARY KEY,
    licencedecision_id uuid NOT NULL REFERENCES cases_licencedecision (id),
    denialreason_id text NOT NULL
);

CREATE TABLE external_data_denial (
    id uuid PRIMARY KEY,
    updated_at timestamptz NOT NULL,
    regime_reg_ref text NOT NULL UNIQUE,
    notifying_government text,
    item_description text,
    is_revoked boolean NOT NULL
);

CREATE TABLE external_data_denialentity (
    id uuid PRIMARY KEY,
    updated_at timestamptz NOT NULL,
    denial_id uuid NOT NULL REFERENCES external_data_denial (id),
    name text,
    country text,
    entity_type text
);

CREATE TABLE audit_trail_audit (
    id uuid PRIMARY KEY,
    created_at timestamptz NOT NULL,
    verb varchar(255) NOT NULL,
    target_object_id uuid,
    payload jsonb NOT NULL
);

CREATE INDEX ON applications_partyonapplication (application_id);
CREATE INDEX ON applications_goodonapplication (application_id);
CREATE INDEX ON licences_licence (case_id);
CREATE INDEX ON cases_licencedecision (case_id);
CREATE INDEX ON audit_trail_audit (target_object_id);
