-- Invented rows. Cases: 1 revoked, 2 finalised with serials to come, 3 re-issued, 4 refused for diversion, 5 a draft,
-- 6 refused by mistake (the decision is void), 7 a clone of case 1 that is under review.

INSERT INTO organisation VALUES
    ('0a000000-0000-4000-8000-000000000001', '2026-01-01', 'Example Works Ltd', 'XA000000000001');

INSERT INTO statuses_casestatus VALUES
    ('00000000-0000-0000-0000-000000000001', 'submitted'),
    ('00000000-0000-0000-0000-000000000007', 'finalised'),
    ('00000000-0000-0000-0000-000000000009', 'withdrawn');

INSERT INTO cases_case
SELECT ('0c000000-0000-4000-8000-00000000000' || n)::uuid, '2026-01-01'::timestamptz + n * interval '1 day',
       '2026-01-02'::timestamptz + n * interval '1 day',
       CASE WHEN n <> 5 THEN 'GBSIEL/2026/000000' || n || '/P' END, '0a000000-0000-4000-8000-000000000001',
       CASE WHEN n <> 5 THEN '2026-01-01'::timestamptz + n * interval '1 day' END,
       CASE n WHEN 5 THEN NULL WHEN 7 THEN '00000000-0000-0000-0000-000000000001'::uuid
              ELSE '00000000-0000-0000-0000-000000000007'::uuid END
FROM generate_series(1, 7) n;

INSERT INTO applications_baseapplication SELECT id, 'police', 'never leaves' FROM cases_case;

INSERT INTO parties_party VALUES
    ('0b000000-0000-4000-8000-000000000001', '2026-01-01', 'Al Noor Gen. Trading LLC', E'1 Harbour Road&#x27;s End\nXB Port', 'XB',
     'A. Signatory', 'consignee', NULL, 'commercial', NULL, '+999200001'),
    ('0b000000-0000-4000-8000-000000000002', '2026-01-01', 'Ministry of Interior &amp;amp; Police', '2 Palace Square', 'XD-DU',
     '', 'end_user', NULL, 'government', NULL, NULL),
    ('0b000000-0000-4000-8000-000000000003', '2026-01-01', 'Withdrawn Trading', '3 Back Street', 'XE', '', 'consignee', NULL,
     'commercial', NULL, NULL),
    ('0b000000-0000-4000-8000-000000000004', '2026-01-01', 'Agents of XF', '4 Side Street', 'BAT', '', 'third_party', 'agent',
     'commercial', NULL, NULL),
    ('0b000000-0000-4000-8000-000000000007', '2026-01-07', 'Al Noor Gen. Trading LLC', '1 Harbour Road&#x27;s End', 'XB', '',
     'consignee', NULL, 'commercial', '0b000000-0000-4000-8000-000000000001', '+999200001');

INSERT INTO applications_partyonapplication (updated_at, application_id, party_id, deleted_at)
SELECT '2026-01-03', ('0c000000-0000-4000-8000-00000000000' || c)::uuid,
       ('0b000000-0000-4000-8000-00000000000' || p)::uuid, gone::timestamptz
FROM (VALUES (1, 1, NULL), (1, 2, NULL), (1, 3, '2026-01-09'), (1, 4, NULL), (2, 2, NULL), (3, 2, NULL), (4, 1, NULL),
             (5, 3, NULL), (6, 3, NULL), (7, 7, NULL)) v (c, p, gone);

-- Two rows for a good: the product (odd) and what stands on the application (even), which has the serials.
INSERT INTO goods_firearmgooddetails
    (type, year_of_manufacture, calibre, serial_numbers_available, serial_number, number_of_items, serial_numbers) VALUES
    ('firearms', 2020, '9x19', 'AVAILABLE', '', 4, '{}'),
    ('firearms', 2024, '9x19', 'AVAILABLE', '', 4, '{EA000101,EA000102,"",EA000103}'),
    ('firearms', 2020, '7.62x39', 'LATER', '', NULL, '{}'),
    ('firearms', 2023, '7.62x39', 'LATER', '', 3, '{"","",""}'),
    ('firearms', NULL, '', NULL, 'OLD-77', 1, '{}');

INSERT INTO control_list_entry VALUES ('0e000000-0000-4000-8000-000000000001', 'ML1a');

INSERT INTO good VALUES
    ('0d000000-0000-4000-8000-000000000001', '2026-01-01', 'Pistol EX-9', 'EX-9', 1),
    ('0d000000-0000-4000-8000-000000000002', '2026-01-01', 'Rifle EX-7', 'EX-7', 3),
    ('0d000000-0000-4000-8000-000000000003', '2026-01-01', 'Carbine of an old case', NULL, 5),
    ('0d000000-0000-4000-8000-000000000004', '2026-01-01', 'Night sight', 'NS-1', NULL);

INSERT INTO good_control_list_entries (good_id, controllistentry_id) VALUES
    ('0d000000-0000-4000-8000-000000000001', '0e000000-0000-4000-8000-000000000001');

INSERT INTO applications_goodonapplication VALUES
    ('0f000000-0000-4000-8000-000000000001', '2026-01-02', '2026-01-02', '0c000000-0000-4000-8000-000000000001',
     '0d000000-0000-4000-8000-000000000001', 2, 4, 'NAR', 4000),
    ('0f000000-0000-4000-8000-000000000002', '2026-01-03', '2026-01-03', '0c000000-0000-4000-8000-000000000002',
     '0d000000-0000-4000-8000-000000000002', 4, 3, 'NAR', 3000),
    ('0f000000-0000-4000-8000-000000000003', '2026-01-04', '2026-01-04', '0c000000-0000-4000-8000-000000000003',
     '0d000000-0000-4000-8000-000000000003', NULL, 1, 'NAR', 500),
    ('0f000000-0000-4000-8000-000000000004', '2026-01-05', '2026-01-05', '0c000000-0000-4000-8000-000000000004',
     '0d000000-0000-4000-8000-000000000004', NULL, 15, 'MIM', 900);

INSERT INTO licences_licence VALUES
    ('01000000-0000-4000-8000-000000000001', '2026-02-01', '2026-03-02', 'GBSIEL/2026/0000001/P',
     '0c000000-0000-4000-8000-000000000001', 'revoked', '2026-02-01', '2028-01-31'),
    ('01000000-0000-4000-8000-000000000002', '2026-02-02', '2026-02-02', 'GBSIEL/2026/0000002/P',
     '0c000000-0000-4000-8000-000000000002', 'issued', '2026-02-02', '2028-02-01'),
    ('01000000-0000-4000-8000-000000000003', '2026-02-03', '2026-02-20', 'GBSIEL/2026/0000003/P',
     '0c000000-0000-4000-8000-000000000003', 'cancelled', '2026-02-03', '2028-02-02'),
    ('01000000-0000-4000-8000-000000000004', '2026-02-20', '2026-02-20', 'GBSIEL/2026/0000003/P/A',
     '0c000000-0000-4000-8000-000000000003', 'reinstated', '2026-02-20', '2028-02-19');

INSERT INTO licences_goodonlicence VALUES
    ('02000000-0000-4000-8000-000000000001', '2026-02-01', '0f000000-0000-4000-8000-000000000001',
     '01000000-0000-4000-8000-000000000001', 3);

INSERT INTO cases_licencedecision VALUES
    ('03000000-0000-4000-8000-000000000004', '2026-02-04', '2026-02-04', '0c000000-0000-4000-8000-000000000004', 'refused', NULL),
    ('03000000-0000-4000-8000-000000000006', '2026-02-06', '2026-02-06', '0c000000-0000-4000-8000-000000000006', 'refused',
     'entered by mistake');

INSERT INTO cases_licencedecision_denial_reasons (licencedecision_id, denialreason_id) VALUES
    ('03000000-0000-4000-8000-000000000004', '7'), ('03000000-0000-4000-8000-000000000006', '7');

-- What other States refused; stored escaped, and a corrected spelling has left its wrong twin.
INSERT INTO external_data_denial VALUES
    ('04000000-0000-4000-8000-000000000001', '2026-01-01', 'XB-2026-1', 'XB', 'Rifles', false),
    ('04000000-0000-4000-8000-000000000002', '2026-01-01', 'XE-2026-2', 'XE', 'Pistols', true),
    ('04000000-0000-4000-8000-000000000003', '2026-01-01', 'XA-2026-3', 'XA', 'Our own', false);
INSERT INTO external_data_denialentity VALUES
    ('05000000-0000-4000-8000-000000000001', '2026-01-01', '04000000-0000-4000-8000-000000000001',
     ' Alnuor &amp; Sons', 'State of XD', 'end_user'),
    ('05000000-0000-4000-8000-000000000002', '2026-01-02', '04000000-0000-4000-8000-000000000001',
     'Alnour &amp; Sons', 'State of XD', 'end_user'),
    ('05000000-0000-4000-8000-000000000003', '2026-01-01', '04000000-0000-4000-8000-000000000002',
     'Freed Trading', 'State of XF', 'consignee'),
    ('05000000-0000-4000-8000-000000000004', '2026-01-01', '04000000-0000-4000-8000-000000000003',
     'Refused by us', 'State of XG', '');

INSERT INTO audit_trail_audit VALUES
    ('06000000-0000-4000-8000-000000000001', '2026-02-01', 'licence_updated_status', '0c000000-0000-4000-8000-000000000001', '{}');
