#if !__has_include(<mysql.h>)
#error "MariaDB's client library is missing: apt-get install libmariadb-dev (or run make deps)"
#endif
#include <mysql.h>
