import Foundation
import TestSupport
import Testing

@testable import Storage

@Suite struct DatabaseSettingsTests {
  @Test("Nothing set is SQLite in its default place")
  func defaults() throws {
    let settings = try DatabaseSettings(environment: ["DB_NAME": "", "PATH": "/bin"])
    #expect(settings == DatabaseSettings())
    #expect(settings.backend == .sqlite(path: "/var/lib/sluice/sluice.db"))
    #expect(settings.description == "SQLite /var/lib/sluice/sluice.db")
  }

  @Test("Every variable has its effect")
  func all() throws {
    let settings = try DatabaseSettings(environment: [
      "DB_TYPE": "PostgreSQL", "DB_HOST": "db", "DB_PORT": "6432", "DB_NAME": "n", "DB_USER": "u", "DB_PASS": "secret",
      "DB_POOL_SIZE": "3", "DB_MAX_RETRIES": "0", "DB_RETRY_DELAY": "7",
    ])
    #expect(
      settings.backend
        == .postgres(
          DatabaseServer(host: "db", port: 6432, database: "n", user: "u", password: DatabasePassword("secret"))))
    #expect(settings.poolSize == 3 && settings.retriesMax == 0 && settings.retryDelay == .seconds(7))
    #expect(settings.description == "PostgreSQL u@db:6432/n")
    let mysql = try DatabaseSettings(environment: [
      "DB_TYPE": "MySQL", "DB_TLS": "verify", "DB_TLS_CA": "/ca", "DB_TLS_CERTIFICATE": "/c", "DB_TLS_KEY": "/k",
    ])
    #expect(
      mysql.backend
        == .mysql(
          DatabaseServer(
            host: "127.0.0.1", port: 3306, database: "sluice", user: "sluice",
            tls: DatabaseTLS(mode: .verify, authority: "/ca", certificate: "/c", key: "/k"))))
    #expect(mysql.description == "MariaDB sluice@127.0.0.1:3306/sluice")
  }

  @Test(
    "A value that says nothing usable is an error that names the variable",
    arguments: [
      ("DB_TYPE", "oracle"), ("DB_TLS", "maybe"), ("DB_PORT", "0"), ("DB_PORT", "65536"), ("DB_PORT", "5432x"), ("DB_POOL_SIZE", "0"),
      ("DB_POOL_SIZE", "101"), ("DB_MAX_RETRIES", "-1"), ("DB_RETRY_DELAY", "1.5"),
      ("DB_POOL_SIZE", "9999999999999999999"),
    ])
  func invalid(_ variable: String, _ value: String) {
    let environment = ["DB_TYPE": "postgresql"].merging([variable: value]) { $1 }
    #expect {
      try DatabaseSettings(environment: environment)
    } throws: { error in
      (error as? DatabaseSettingsError)?.variable == variable && (value.utf8.count < 4 || !"\(error)".contains(value))
    }
  }

  @Test("The password is printed nowhere")
  func redacted() throws {
    let settings = try DatabaseSettings(environment: ["DB_TYPE": "postgresql", "DB_PASS": "hunter2-secret"])
    var dumped = ""
    dump(settings, to: &dumped)
    for text in ["\(settings)", String(reflecting: settings), "\(settings.backend)", dumped] {
      #expect(!text.contains("hunter2"))
    }
  }
}

@Suite struct BackoffTests {
  @Test("The bound doubles up to the cap and stays there")
  func bound() {
    let backoff = Backoff(base: .seconds(1), cap: .seconds(30), retriesMax: 100)
    #expect((0..<7).map { backoff.bound(retry: $0) } == [1, 2, 4, 8, 16, 30, 30].map { .seconds($0) })
    #expect(backoff.bound(retry: .max) == .seconds(30))
    #expect(backoff.bound(retry: -1) == .seconds(1))
    #expect(Backoff(base: .zero, retriesMax: 1).bound(retry: .max) == .zero)
    #expect(Backoff(base: .seconds(60), cap: .seconds(30), retriesMax: 1).bound(retry: 0) == .seconds(30))
  }

  @Test("Every delay lies between zero and the bound, and comes near both ends")
  func jitter() {
    let backoff = Backoff(base: .milliseconds(100), cap: .seconds(5), retriesMax: 1000)
    var random = SeededGenerator(announcing: "BackoffTests.jitter")
    for retry in 0..<1000 {
      let delay = backoff.delay(retry: retry, using: &random) ?? .seconds(-1)
      #expect(delay >= .zero && delay <= backoff.bound(retry: retry))
    }
    let delays = (0..<1000).compactMap { _ in backoff.delay(retry: 3, using: &random) }
    #expect(delays.contains { $0 < .milliseconds(80) } && delays.contains { $0 > .milliseconds(720) })
  }

  @Test("There are as many delays as retries", arguments: [0, 1, 10])
  func count(_ retriesMax: Int) {
    let backoff = Backoff(base: .seconds(1), retriesMax: retriesMax)
    var random = SeededGenerator(announcing: "BackoffTests.count(\(retriesMax))")
    #expect((0..<100).filter { backoff.delay(retry: $0, using: &random) != nil }.count == retriesMax)
  }
}

@Suite struct TimeTests {
  @Test("A stored time comes back as itself", arguments: [0, 1, -1, 1_763_693_941_123, 253_402_300_799_999, 999])
  func roundTrip(_ milliseconds: Int64) {
    let date = Date(unixMilliseconds: milliseconds)
    #expect(date.unixMilliseconds == milliseconds && date.wholeMilliseconds == date)
  }

  @Test("A page is within its limits whatever is asked for")
  func page() {
    #expect(Page(limit: 0, offset: -5) == Page(limit: 1, offset: 0))
    #expect(Page(limit: .max, offset: .max).limit == Page.limitMax)
  }
}
