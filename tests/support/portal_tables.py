"""The portal's database as its owners made it: the three tables, and web2py's own, whose names Django uses too."""

from __future__ import annotations

WEB2PY_TABLES = (
    """CREATE TABLE auth_user (
        id INT NOT NULL AUTO_INCREMENT, first_name VARCHAR(128) NULL, last_name VARCHAR(128) NULL,
        email VARCHAR(512) NULL, password VARCHAR(512) NULL, registration_key VARCHAR(512) NULL,
        reset_password_key VARCHAR(512) NULL, registration_id VARCHAR(512) NULL,
        phone VARCHAR(32) NULL, created_on DATETIME NULL, PRIMARY KEY (id))""",
    """CREATE TABLE auth_group (
        id INT NOT NULL AUTO_INCREMENT, role VARCHAR(512) NULL, description LONGTEXT NULL, PRIMARY KEY (id))""",
    """CREATE TABLE auth_membership (
        id INT NOT NULL AUTO_INCREMENT, user_id INT NULL, group_id INT NULL, PRIMARY KEY (id), KEY user_id (user_id),
        KEY group_id (group_id), CONSTRAINT auth_membership_user FOREIGN KEY (user_id) REFERENCES auth_user (id),
        CONSTRAINT auth_membership_group FOREIGN KEY (group_id) REFERENCES auth_group (id))""",
    """CREATE TABLE auth_permission (
        id INT NOT NULL AUTO_INCREMENT, group_id INT NULL, name VARCHAR(512) NULL, table_name VARCHAR(512) NULL,
        record_id INT NULL, PRIMARY KEY (id), KEY group_id (group_id),
        CONSTRAINT auth_permission_group FOREIGN KEY (group_id) REFERENCES auth_group (id))""",
    """CREATE TABLE auth_event (
        id INT NOT NULL AUTO_INCREMENT, time_stamp DATETIME NULL, client_ip VARCHAR(512) NULL, user_id INT NULL,
        origin VARCHAR(512) NULL, description LONGTEXT NULL, PRIMARY KEY (id), KEY user_id (user_id))""",
    """CREATE TABLE auth_cas (
        id INT NOT NULL AUTO_INCREMENT, user_id INT NULL, created_on DATETIME NULL, service VARCHAR(512) NULL,
        ticket VARCHAR(512) NULL, renew CHAR(1) NULL, PRIMARY KEY (id), KEY user_id (user_id))""",
)
ORDER_TABLES = (
    """CREATE TABLE bytemark_orders (
        id BIGINT NOT NULL AUTO_INCREMENT, order_uuid VARCHAR(255) NULL, user_id BIGINT NULL, oauth_token LONGTEXT NULL,
        amount VARCHAR(64) NULL, total_price DECIMAL(8,2) NULL, created_on DATETIME NULL DEFAULT CURRENT_TIMESTAMP,
        PRIMARY KEY (id), KEY uuids (order_uuid), KEY users (user_id))""",
    """CREATE TABLE bytemark_tokens (
        id BIGINT NOT NULL AUTO_INCREMENT, user_id BIGINT NULL, email VARCHAR(191) NULL, password VARCHAR(191) NULL,
        token LONGTEXT NULL, status VARCHAR(64) NULL, PRIMARY KEY (id), KEY users (user_id))""",
    """CREATE TABLE bytemark_order_items (
        id BIGINT NOT NULL AUTO_INCREMENT, order_id BIGINT NOT NULL, order_uuid VARCHAR(255) NOT NULL,
        oauth_token LONGTEXT NOT NULL, product_uuid VARCHAR(255) NOT NULL, pass_uuid VARCHAR(255) NOT NULL,
        created_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (id), KEY orders (order_id),
        KEY products (product_uuid), KEY passes (pass_uuid))""",
)
PORTAL_TABLES = WEB2PY_TABLES + ORDER_TABLES
