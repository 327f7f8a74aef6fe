import Foundation
import Testing

@testable import Settings

/// The path of a file with this text, removed by the system's cleaning of its temporary folder at the latest.
private func withFile<Result>(
  _ text: String, mode: Int = 0o600, _ body: (String) throws -> Result
) throws -> Result {
  let path = NSTemporaryDirectory() + "sluice-settings-\(getpid())-\(UInt32.random(in: 0 ... .max)).yaml"
  let made = FileManager.default.createFile(
    atPath: path, contents: Data(text.utf8), attributes: [.posixPermissions: mode])
  #expect(made)
  defer { try? FileManager.default.removeItem(atPath: path) }
  return try body(path)
}

private func faults(_ body: () throws -> Void) throws -> [SettingsError.Fault] {
  try #require(throws: SettingsError.self) { try body() }.faults
}

private let shippedFile = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent().appending(path: "config/sluice.yaml").path

@Suite("Settings")
struct SettingsTests {
  @Test("Without anything said, everything is local")
  func defaults() throws {
    try withFile("# nothing\n") { file in
      let daemon = try DaemonSettings.load(environment: [:], file: file)
      #expect(daemon.socketPath == "/run/sluice/sluiced.sock")
      #expect(daemon.socketGroup == nil)
      #expect(daemon.isGRPCEnabled)
      #expect(daemon.stateDirectory == "/var/lib/sluice")
      #expect(daemon.captureDirectory == "/var/lib/sluice/captures")
      #expect(daemon.bpffs == "/sys/fs/bpf")
      #expect("\(daemon.metrics)" == "127.0.0.1:9411")
      #expect(daemon.metrics.isLoopback)
      let api = try APISettings.load(environment: [:], file: file)
      #expect("\(api.http)" == "127.0.0.1:8080")
      #expect(api.database == .sqlite(path: "/var/lib/sluice-api/sluice.db"))
      #expect(api.databaseRetryDelay == .seconds(1))
      #expect(api.log.level == .notice && api.isReleaseMode)
      #expect(api.sessionHours == 12 && api.sessionIdleMinutes == 30)
    }
  }

  @Test("A flag beats the environment, which beats the file, which beats the default")
  func order() throws {
    try withFile("api:\n  port: 1001\n  host: ::1\nmetrics: {port: 1002}\nlog:\n  level: info\n") { file in
      let environment = ["HTTP_PORT": "2001", "SLUICE_LOG_LEVEL": "", "METRICS_PORT": "2002"]
      func port(_ flags: [String: String], _ environment: [String: String]) throws -> Int {
        try APISettings.load(flags: flags, environment: environment, file: file).http.port
      }
      #expect(try port([:], [:]) == 1001)
      #expect(try port([:], environment) == 2001)
      #expect(try port(["api.port": "3001"], environment) == 3001)
      let api = try APISettings.load(environment: environment, file: file)
      #expect("\(api.http)" == "[::1]:2001")
      #expect(api.log.level == .info)
      #expect(try DaemonSettings.load(environment: environment, file: file).metrics.port == 2002)
    }
  }

  @Test("The shipped file is read by both programs and says the defaults of every setting")
  func shipped() throws {
    let daemon = try DaemonSettings.load(environment: [:], file: shippedFile)
    let api = try APISettings.load(environment: [:], file: shippedFile)
    try withFile("") { empty in
      let (bareDaemon, bareAPI) = try (
        DaemonSettings.load(environment: [:], file: empty), APISettings.load(environment: [:], file: empty)
      )
      #expect(bareDaemon == daemon)
      #expect(bareAPI == api)
    }
    let file = try SettingsFile(path: shippedFile)
    let text = try String(contentsOfFile: shippedFile, encoding: .utf8)
    for setting in Setting.all {
      #expect(file.values[setting.key] ?? "" == setting.standard, "\(setting.key)")
      #expect(text.contains(setting.variable), "\(setting.variable)")
    }
    // What is commented out is spelt right, too.
    let uncommented = text.split(separator: "\n").map { line in
      line.hasPrefix("  #") && !line.hasPrefix("  # ") ? "  " + line.dropFirst(3) : String(line)
    }
    try withFile(uncommented.joined(separator: "\n")) { file in
      _ = try SettingsFile(path: file)
    }
  }

  @Test("Names in a list keep the blanks within them")
  func lists() throws {
    let settings = try APISettings.load(environment: ["SLUICE_SECOND_FACTOR_ROLES": "Admin, Team Admin ,careful"], file: shippedFile)
    #expect(settings.secondFactorRoles == ["Admin", "Team Admin", "careful"])
    let faults = try faults { _ = try APISettings.load(environment: ["HTTP_TRUSTED_HOSTS": "a b"], file: shippedFile) }
    #expect(faults.first?.origin == "HTTP_TRUSTED_HOSTS")
  }

  @Test(
    "An unknown key is refused with what was probably meant",
    arguments: [
      ("api:\n  prot: 80\n", "api.prot", "api.port"), ("port: 80\n", "port", ".port"),
      ("databse:\n  type: sqlite\n", "databse.type", "database.type"), ("api: 80\n", "api", "section"),
      ("colour: blue\n", "colour", "is no setting"), ("log:\n  syslog: [a, b]\n", "log.syslog", "list"),
    ])
  func unknown(_ text: String, _ key: String, _ mention: String) throws {
    try withFile(text) { file in
      let faults = try faults { _ = try APISettings.load(environment: [:], file: file) }
      #expect(faults.count == 1)
      #expect(faults.first?.origin == "\(file): \(key)")
      #expect(faults.first?.reason.contains(mention) == true, "\(faults)")
    }
    let flags = try faults { _ = try APISettings.load(flags: ["api.prot": "1"], environment: [:], file: shippedFile) }
    #expect(flags.first?.description == "--set api.prot: is no setting; did you mean api.port?")
  }

  @Test(
    "Every bad value is named with its place, its text and the fix",
    arguments: [
      ("HTTP_PORT", "70000", "65535"), ("HTTP_PORT", "-1", "65535"), ("HTTP_PORT", "http", "number"),
      ("HTTP_PORT", "8080 ", "number"), ("HTTP_HOST", "a b", "host"), ("HTTP2_ENABLED", "maybe", "true"),
      ("HTTP_TLS_KEY", "/k.pem", "go together"), ("HTTP_TLS_CERTIFICATE", "c.pem", "absolute"),
      ("HTTP_TLS_CLIENT_CA", "/ca.pem", "go together"), ("HTTP_TRUSTED_HOSTS", "a,,b", "host names"),
      ("HTTP_TRUSTED_HOSTS", "a.*.b", "host names"), ("HTTP_TRUSTED_HOSTS", "https://a", "host names"),
      ("HTTP_CORS_ORIGINS", "*", "origins"), ("HTTP_CORS_ORIGINS", "https://a/b", "origins"),
      ("HTTP_CORS_ORIGINS", "null", "origins"), ("HTTP_RATE_PER_TOKEN", "-1", "number"),
      ("HTTP_RATE_PER_ADDRESS", "1000001", "number"),
      ("SLUICE_SESSION_HOURS", "0", "1 to 720"), ("SLUICE_SESSION_HOURS", "721", "1 to 720"),
      ("SLUICE_SESSION_IDLE_MINUTES", "19", "20 to 43200"), ("SLUICE_SESSION_IDLE_MINUTES", "721", "longer than a session"),
      ("SLUICE_WEBHOOK_PRIVATE_TARGETS", "10.1.0.1/16", "prefixes"), ("SLUICE_WEBHOOK_PRIVATE_TARGETS", "lan", "prefixes"),
      ("SLUICE_WEBHOOK_PRIVATE_TARGETS", "10.0.0.0/8,,::1", "prefixes"), ("SLUICE_WEBHOOK_CA", "ca.pem", "absolute"),
      ("DB_TYPE", "oracle", "sqlite, postgresql, mysql"), ("DB_PORT", "0", "1 to"), ("DB_PORT", "3306x", "1 to"),
      ("DB_TLS", "maybe", "verify"), ("DB_TLS_CA", "ca.pem", "absolute"), ("DB_TLS_KEY", "/k.pem", "go together"), ("DB_POOL_SIZE", "101", "100"),
      ("DB_MAX_RETRIES", "1001", "1000"), ("DB_RETRY_DELAY", "fast", "500ms"), ("DB_RETRY_DELAY", "nan", "500ms"),
      ("DB_RETRY_DELAY", "2h", "500ms"), ("DB_RETRY_DELAY", "1ms", "10ms"), ("DB_NAME", "a b", "63"),
      ("DB_PATH", "sluice.db", "absolute"), ("DB_PATH", "/a/../b", "absolute"), ("SLUICE_LOG_LEVEL", "loud", "notice"),
      ("SLUICE_LOG", "file", "journal"), ("RELEASE_MODE", "maybe", "true"), ("SLUICE_SYSLOG", "a\nb", "control"),
      ("SLUICE_SOCKET", "/" + String(repeating: "x", count: 107), "107"),
    ])
  func badValues(_ variable: String, _ value: String, _ mention: String) throws {
    let faults = try faults { _ = try APISettings.load(environment: [variable: value], file: shippedFile) }
    #expect(faults.count == 1)
    #expect(faults.first?.origin == variable)
    #expect(faults.first?.value?.prefix(4) == value.replacing("\n", with: "?").prefix(4))
    #expect(faults.first?.reason.contains(mention) == true, "\(faults)")
    #expect(faults.first?.description.contains("\n") == false)
  }

  @Test("Prefixes that webhooks may go to are read as such; without the setting there are none")
  func webhookTargets() throws {
    #expect(try APISettings.load(environment: [:], file: shippedFile).webhookPrivateTargets.isEmpty)
    let environment = ["SLUICE_WEBHOOK_PRIVATE_TARGETS": "10.1.0.0/16, ::1,192.0.2.7"]
    let targets = try APISettings.load(environment: environment, file: shippedFile).webhookPrivateTargets
    #expect(targets.map(\.description) == ["10.1.0.0/16", "::1", "192.0.2.7"])
  }

  @Test("gRPC over TCP is refused with the reason, by the daemon alone")
  func grpcPort() throws {
    let faults = try faults { _ = try DaemonSettings.load(environment: ["GRPC_PORT": "9000"], file: shippedFile) }
    #expect(faults.first?.reason.contains("mutual TLS") == true)
    #expect(throws: Never.self) { try APISettings.load(environment: ["GRPC_PORT": "9000"], file: shippedFile) }
  }

  @Test("All faults are reported at once")
  func several() throws {
    try withFile("api:\n  port: x\n") { file in
      let faults = try faults { _ = try APISettings.load(environment: ["DB_TYPE": "x", "DB_PORT": "y"], file: file) }
      #expect(Set(faults.map(\.origin)) == ["\(file): api.port", "DB_TYPE", "DB_PORT"])
    }
  }

  @Test("A password shows in no message and no dump")
  func secrets() throws {
    let environment = ["DB_TYPE": "postgresql", "DB_PASS": "hunter2"]
    let settings = try APISettings.load(environment: environment, file: shippedFile)
    var dumped = ""
    dump(settings, to: &dumped)
    #expect(!"\(settings) \(String(reflecting: settings)) \(dumped)".contains("hunter2"))
    guard case .postgresql(let server) = settings.database else {
      Issue.record("not PostgreSQL")
      return
    }
    #expect(server.password?.reveal() == "hunter2")
    let faults = try faults { _ = try APISettings.load(environment: ["DB_PASS": "hunter2\n"], file: shippedFile) }
    #expect(!"\(faults)".contains("hunter2"))
  }

  @Test("A password in a file that everybody can read is refused")
  func readablePassword() throws {
    let text = "database:\n  password: hunter2\n"
    try withFile(text, mode: 0o644) { file in
      let faults = try faults { _ = try APISettings.load(environment: [:], file: file) }
      #expect(faults.first?.reason.contains("chmod") == true)
      #expect(!"\(faults)".contains("hunter2"))
    }
    try withFile(text, mode: 0o640) { file in
      _ = try APISettings.load(environment: [:], file: file)
    }
  }

  @Test(
    "A file that isn't settings is refused",
    arguments: ["- a\n- b\n", "api: [", "{", "\u{0}", "just text", "a: b: c\n", "? {x: 1}\n: 2\n"])
  func noSettings(_ text: String) throws {
    try withFile(text) { file in
      let faults = try faults { _ = try DaemonSettings.load(environment: [:], file: file) }
      #expect(faults.allSatisfy { $0.origin.hasPrefix(file) })
    }
  }

  @Test(
    "A password is in no error, whatever is wrong around it",
    arguments: ["@hunter2", "%hunter2", "`hunter2", "*hunter2", "a: hunter2", "{hunter2}", "{a: hunter2}", "[hunter2", "\"hunter2", "hunter2\n bad: ["])
  func secret(_ value: String) throws {
    try withFile("database:\n  password: \(value)\n") { file in
      let faults = try faults { _ = try APISettings.load(environment: [:], file: file) }
      #expect(!faults.isEmpty)
      for fault in faults { #expect(!"\(fault.origin) \(fault.value ?? "") \(fault.reason)".contains("hunter2"), "\(fault)") }
      #expect(!"\(SettingsError(faults))".contains("hunter2"))
    }
  }

  @Test("A named file must exist, be readable and be of a sane size")
  func files() throws {
    let missing = try faults { _ = try DaemonSettings.load(environment: ["SLUICE_CONFIG": "/nonexistent/x.yaml"]) }
    #expect(missing.first?.origin == "/nonexistent/x.yaml")
    #expect(missing.first?.reason.contains("cannot be read") == true)
    let folder = try faults { _ = try DaemonSettings.load(environment: [:], file: "/tmp") }
    #expect(folder.first?.reason.contains("cannot be read") == true)
    try withFile(String(repeating: "#", count: SettingsFile.byteCountMax + 1)) { file in
      let large = try faults { _ = try DaemonSettings.load(environment: [:], file: file) }
      #expect(large.first?.reason.contains("larger") == true)
    }
    if !FileManager.default.fileExists(atPath: Setting.standardFile) {
      #expect(throws: Never.self) { try DaemonSettings.load(environment: [:]) }
    }
  }

  @Test(
    "Times", arguments: [("500ms", 500), ("2s", 2000), ("1.5s", 1500), ("1m", 60_000), ("3", 3000), ("0.25", 250)])
  func times(_ text: String, _ milliseconds: Int) throws {
    let settings = try APISettings.load(environment: ["DB_RETRY_DELAY": text], file: shippedFile)
    #expect(settings.databaseRetryDelay == .milliseconds(milliseconds))
  }

  @Test("--set takes KEY=VALUE")
  func flags() throws {
    #expect(try SettingFlags.parse(["a.b=c=d", "e="]) == ["a.b": "c=d", "e": ""])
    for text in ["", "=", "=x", "a.b"] { #expect(throws: SettingsError.self) { try SettingFlags.parse([text]) } }
  }

  @Test(
    "Loopback is recognised by address",
    arguments: [
      ("127.0.0.1", true), ("127.9.9.9", true), ("::1", true), ("localhost", true), ("0.0.0.0", false), ("::", false),
      ("127.evil.example.com", false), ("1127.0.0.1", false), ("10.0.0.1", false),
    ])
  func loopback(_ host: String, _ isLoopback: Bool) {
    #expect(ListenAddress(host: host, port: 1).isLoopback == isLoopback)
  }

  @Test("Keys and variables are unique, and the tables name every one")
  func tables() {
    #expect(Set(Setting.all.map(\.key)).count == Setting.all.count)
    #expect(Set(Setting.all.map(\.variable)).count == Setting.all.count)
    for program in Program.allCases {
      let lines = Setting.describe(program).split(separator: "\n")
      #expect(lines.count == Setting.all.filter { $0.programs.contains(program) }.count)
    }
    #expect(Setting.markdownTable().split(separator: "\n").count == Setting.all.count + 2)
  }
}
