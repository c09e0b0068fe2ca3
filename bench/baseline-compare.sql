SELECT 'ok - nothing yet';
