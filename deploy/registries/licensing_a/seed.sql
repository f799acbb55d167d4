-- Invented rows: one licence revoked, one suspended whose serials come later, one lawful, one denial of our own.

INSERT INTO organisation VALUES
    ('o-1', 'Example Works Ltd', 'commercial', 'active', 'XA000000000001', 'XA100', '0000001', '+999100001', NULL);
INSERT INTO case_base VALUES
    ('c-1', 'GBSIEL/2026/0000001/P', 'siel', 'revoked', 'o-1', '2026-01-05 09:00:00', '2026-03-02 10:00:00'),
    ('c-2', 'GBSIEL/2026/0000002/P', 'siel', 'finalised', 'o-1', '2026-02-05 09:00:00', '2026-03-09 10:00:00'),
    ('c-3', 'GBSIEL/2026/0000003/P', 'siel', 'finalised', 'o-1', '2026-02-07 09:00:00', '2026-03-10 10:00:00');
INSERT INTO application (case_id, name, intended_end_use, export_type) VALUES
    ('c-1', 'Pistols for a police force', 'police', 'permanent'),
    ('c-2', 'Rifles for a ministry', 'military', 'permanent'),
    ('c-3', 'Sporting shotguns', 'sport', 'permanent');
INSERT INTO party (id, name, address, country_id, type, sub_type, copy_of, phone_number, email) VALUES
    ('p-1', 'Al Noor Gen. Trading LLC', '1 Harbour Road&#x27;s End', 'XB', 'consignee', 'commercial', NULL, '+999200001', NULL),
    ('p-2', 'Ministry of Interior &amp;amp; Police', '2 Palace Square', 'XD-DU', 'end_user', 'government', NULL, NULL, NULL),
    ('p-3', 'Withdrawn Trading', '3 Back Street', 'XE', 'consignee', 'commercial', NULL, NULL, NULL),
    ('p-4', 'Al Noor Gen. Trading LLC', '1 Harbour Road&#x27;s End', 'XB', 'consignee', 'commercial', 'p-1', '+999200001', NULL),
    ('p-5', 'Sports Club of XE', '5 Field Lane', 'XE', 'end_user', 'other', NULL, NULL, NULL);
INSERT INTO party_on_application VALUES
    (1, 'c-1', 'p-1', '2026-01-05 09:00:00', '2026-01-05 09:00:00', NULL),
    (2, 'c-1', 'p-2', '2026-01-05 09:00:00', '2026-01-05 09:00:00', NULL),
    (3, 'c-1', 'p-3', '2026-01-05 09:00:00', '2026-01-09 09:00:00', '2026-01-09 09:00:00'),
    (4, 'c-2', 'p-4', '2026-02-05 09:00:00', '2026-02-05 09:00:00', NULL),
    (5, 'c-3', 'p-5', '2026-02-07 09:00:00', '2026-02-07 09:00:00', NULL);
INSERT INTO firearm_good_details
    (id, type, calibre, year_of_manufacture, serial_numbers_available, serial_numbers, number_of_items) VALUES
    (1, 'firearms', '9x19', 2024, 'AVAILABLE', '["EA000101", "EA000102", "", "EA000103"]', 4),
    (2, 'firearms', '7.62x39', 2023, 'LATER', '[]', 200),
    (3, 'shotguns', '12/70', 2022, 'AVAILABLE', '["SG-7001"]', 1);
INSERT INTO good (id, name, description, part_number, organisation_id, item_category) VALUES
    ('g-1', 'Example P1 pistol', 'Self-loading pistol', 'P1-9', 'o-1', 'group2_firearms'),
    ('g-2', 'Example R2 rifle', 'Assault rifle', 'R2-762', 'o-1', 'group2_firearms'),
    ('g-3', 'Example S3 shotgun', 'Sporting shotgun', 'S3-12', 'o-1', 'group2_firearms');
INSERT INTO good_control_list_entries VALUES ('g-1', 'ML1a'), ('g-2', 'ML1a'), ('g-3', 'ML1a');
INSERT INTO good_on_application VALUES
    ('ga-1', 'c-1', 'g-1', 4, 'NAR', 2400.00, 1, '2026-01-05 09:00:00'),
    ('ga-2', 'c-2', 'g-2', 200, 'NAR', 90000.00, 2, '2026-02-05 09:00:00'),
    ('ga-3', 'c-3', 'g-3', 1, 'NAR', 700.00, 3, '2026-02-07 09:00:00');
INSERT INTO licence VALUES
    ('l-1', 'GBSIEL/2026/0000001/P', 'c-1', 'revoked', '2026-01-20', '2028-01-20', 24, '2026-03-02 10:00:00.000000'),
    ('l-2', 'GBSIEL/2026/0000002/P', 'c-2', 'suspended', '2026-02-20', '2028-02-20', 24, '2026-03-09 10:00:00.000000'),
    ('l-3', 'GBSIEL/2026/0000003/P', 'c-3', 'issued', '2026-02-22', '2028-02-22', 24, '2026-03-10 10:00:00.000000');
INSERT INTO denial VALUES
    ('d-1', 'DN2026/0001', 'XA-DN-0001', 'XA', 'ML1a', 'Pistols &amp; magazines', 'police', 0, '', 'Criterion 7: risk of diversion'),
    ('d-2', 'DN2026/0002', 'XE-DN-0009', 'XE', 'ML1a', 'Rifles', 'unknown', 0, '', 'Criterion 7: risk of diversion'),
    ('d-3', 'DN2026/0003', 'XA-DN-0002', 'XA', 'ML3', 'Cartridges', 'sport', 0, '', 'Criterion 2: human rights');
INSERT INTO denial_entity VALUES
    ('de-1', 'd-1', 'O&#x27;Example &amp;amp; Sons', '9 Pier Street', 'XB', 'consignee'),
    ('de-2', 'd-2', 'Not ours to tell', '1 Far Street', 'XE', 'end_user'),
    ('de-3', 'd-3', 'Cartridge Club', '2 Far Street', 'XE', 'end_user');
