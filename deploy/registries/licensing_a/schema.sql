-- A national licensing database (schema A) on SQLite; arrays are JSON text.

CREATE TABLE organisation (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, type TEXT, status TEXT, eori_number TEXT, vat_number TEXT,
    registration_number TEXT, phone_number TEXT, website TEXT
);
CREATE TABLE case_base (
    id TEXT PRIMARY KEY, reference_code TEXT NOT NULL UNIQUE, case_type TEXT, status TEXT,
    organisation_id TEXT REFERENCES organisation (id), submitted_at TEXT, last_closed_at TEXT
);
CREATE TABLE application (
    case_id TEXT PRIMARY KEY REFERENCES case_base (id), name TEXT, activity TEXT, usage TEXT, intended_end_use TEXT,
    export_type TEXT, is_shipped_waybill_or_lading INTEGER, non_waybill_or_lading_route_details TEXT,
    temp_export_details TEXT, proposed_return_date TEXT, goods_recipients TEXT
);
CREATE TABLE party (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, address TEXT, country_id TEXT, website TEXT, signatory_name_euu TEXT,
    type TEXT, role TEXT, sub_type TEXT, end_user_document_available INTEGER, document_in_english INTEGER,
    document_on_letterhead INTEGER, copy_of TEXT, phone_number TEXT, email TEXT
);
CREATE TABLE party_on_application (
    id INTEGER PRIMARY KEY, application_id TEXT NOT NULL REFERENCES application (case_id),
    party_id TEXT NOT NULL REFERENCES party (id), created_at TEXT, updated_at TEXT, deleted_at TEXT
);
CREATE TABLE firearm_good_details (
    id INTEGER PRIMARY KEY, type TEXT, category TEXT, calibre TEXT, year_of_manufacture INTEGER, is_replica INTEGER,
    serial_numbers_available TEXT, serial_numbers TEXT, no_identification_markings_details TEXT,
    number_of_items INTEGER, is_deactivated INTEGER, date_of_deactivation TEXT, deactivation_standard TEXT
);
CREATE TABLE good (
    id TEXT PRIMARY KEY, name TEXT, description TEXT, part_number TEXT,
    organisation_id TEXT REFERENCES organisation (id), status TEXT, item_category TEXT, is_military_use TEXT,
    firearm_details_id INTEGER REFERENCES firearm_good_details (id)
);
CREATE TABLE good_control_list_entries (good_id TEXT NOT NULL REFERENCES good (id), controllistentry_id TEXT NOT NULL);
CREATE TABLE good_on_application (
    id TEXT PRIMARY KEY, application_id TEXT NOT NULL REFERENCES application (case_id),
    good_id TEXT NOT NULL REFERENCES good (id), quantity REAL, unit TEXT, value NUMERIC,
    firearm_details_id INTEGER REFERENCES firearm_good_details (id), updated_at TEXT
);
CREATE TABLE licence (
    id TEXT PRIMARY KEY, reference_code TEXT NOT NULL, case_id TEXT NOT NULL REFERENCES case_base (id),
    status TEXT NOT NULL, start_date TEXT, end_date TEXT, duration INTEGER, updated_at TEXT
);
CREATE TABLE good_on_licence (
    id TEXT PRIMARY KEY, licence_id TEXT NOT NULL REFERENCES licence (id), good_id TEXT NOT NULL, usage REAL,
    quantity REAL, value NUMERIC
);
CREATE TABLE denial (
    id TEXT PRIMARY KEY, reference TEXT, regime_reg_ref TEXT UNIQUE, notifying_government TEXT, denial_cle TEXT,
    item_description TEXT, end_use TEXT, is_revoked INTEGER, is_revoked_comment TEXT, reason_for_refusal TEXT
);
CREATE TABLE denial_entity (
    id TEXT PRIMARY KEY, denial_id TEXT NOT NULL REFERENCES denial (id), name TEXT, address TEXT, country TEXT,
    entity_type TEXT
);
CREATE TABLE denial_match_on_application (
    id TEXT PRIMARY KEY, application_id TEXT NOT NULL, denial_entity_id TEXT NOT NULL, category TEXT
);
CREATE INDEX licence_case ON licence (case_id);
CREATE INDEX good_on_application_application ON good_on_application (application_id);
CREATE INDEX party_on_application_application ON party_on_application (application_id);
CREATE INDEX denial_entity_denial ON denial_entity (denial_id);
