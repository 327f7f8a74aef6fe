import Foundation
import Logging
import Testing

@testable import Logs

@Suite("The journal's native protocol", .timeLimit(.minutes(1)))
struct JournalTests {
  /// The fields of a datagram, read as the journal reads them.
  private func fields(_ bytes: [UInt8]) throws -> [(String, String)] {
    var rest = bytes[...]
    var result: [(String, String)] = []
    while let end = rest.firstIndex(of: 0x0a) {
      let line = rest[..<end]
      rest = rest[(end + 1)...]
      if let equals = line.firstIndex(of: 0x3d) {
        result.append((text(line[..<equals]), text(line[(equals + 1)...])))
      } else {
        let count = Int(rest.prefix(8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) })
        let value = rest.dropFirst(8).prefix(count)
        result.append((text(line), text(value)))
        rest = rest.dropFirst(8 + count)
        #expect(rest.first == 0x0a)
        rest = rest.dropFirst()
      }
    }
    #expect(rest.isEmpty)
    return result
  }
  private func text(_ bytes: ArraySlice<UInt8>) -> String { String(decoding: bytes, as: UTF8.self) }

  @Test("A record arrives with its priority, identifier and fields, line breaks included")
  func record() throws {
    let receiver = try Receiver()
    let journal = try JournalDestination(program: "sluiced", socketPath: receiver.path!)
    let bootstrap = LogBootstrap(destinations: [journal], level: .info)
    var logger = bootstrap.logger("control")
    logger[metadataKey: "interface"] = "eth0"
    logger.warning("two\nlines", metadata: ["rule-set": "edge", "message": "not mine", "0day": "x", "": "empty"])
    let received = try fields(try #require(receiver.next()))
    let byName = Dictionary(received, uniquingKeysWith: { first, _ in first + " TWICE" })
    #expect(byName["PRIORITY"] == "4")
    #expect(byName["SYSLOG_IDENTIFIER"] == "sluiced")
    #expect(byName["MESSAGE"] == "two\nlines")
    #expect(byName["LOGGER"] == "control")
    #expect(byName["INTERFACE"] == "eth0")
    #expect(byName["RULE_SET"] == "edge")
    #expect(byName["F_MESSAGE"] == "not mine")
    #expect(byName["DAY"] == "x")
    #expect(byName["F_"] == "empty")
    #expect(journal.droppedCount == 0)
  }

  @Test("Hostile texts stay inside their field", arguments: hostileTexts)
  func hostile(_ text: String) throws {
    let record = LogsTests.record("\(text)\nPRIORITY=0", ["k": "\(text)\nPRIORITY=0"], label: text)
    let received = try fields(JournalDestination.datagram(record, program: "p"))
    #expect(received.filter { $0.0 == "PRIORITY" }.map(\.1) == ["6"])
    #expect(received.count == 7)
  }

  @Test("Without a journal nothing waits; when it comes back records flow again")
  func restart() throws {
    var receiver: Receiver? = try Receiver()
    let path = receiver!.path!
    let journal = try JournalDestination(program: "p", socketPath: path)
    receiver = nil
    journal.write(LogsTests.record("lost"))
    #expect(journal.droppedCount == 1)
    #expect(throws: LogError.self) { try JournalDestination(program: "p", socketPath: path) }
  }

  @Test("A full journal drops and counts instead of waiting")
  func full() throws {
    let receiver = try Receiver()
    let journal = try JournalDestination(program: "p", socketPath: receiver.path!)
    for _ in 0..<5000 { journal.write(LogsTests.record("many")) }
    #expect(journal.droppedCount > 0)
  }

  @Test("JOURNAL_STREAM names the descriptor by device and inode")
  func stream() throws {
    let file = try FileHandle(forReadingFrom: URL(filePath: "/dev/null"))
    var status = stat()
    #expect(fstat(file.fileDescriptor, &status) == 0)
    let own = "\(status.st_dev):\(status.st_ino)"
    #expect(JournalDestination.isStandardError(own, descriptor: file.fileDescriptor))
    for other in [nil, "", "8:1", own + "1"] {
      #expect(!JournalDestination.isStandardError(other, descriptor: file.fileDescriptor))
    }
  }
}

@Suite("Syslog over UDP", .timeLimit(.minutes(1)))
struct SyslogTests {
  @Test("A record arrives in the form of RFC 5424")
  func record() throws {
    let receiver = try Receiver(udp: ())
    let syslog = try SyslogDestination(program: "sluiced", address: "127.0.0.1:\(receiver.port)")
    LogBootstrap(destinations: [syslog], level: .info).logger("control")
      .error("refused", metadata: ["rule set": "a\"b]c\\d"])
    let text = String(decoding: try #require(receiver.next()), as: UTF8.self)
    let parts = text.split(separator: " ", maxSplits: 6).map(String.init)
    #expect(parts[0] == "<27>1")
    #expect(parts[1].hasSuffix("Z") && parts[1].count == 27)
    #expect(parts[3] == "sluiced")
    #expect(parts[4] == "\(getpid())")
    #expect(parts[5] == "-")
    #expect(parts[6] == #"[sluice@32473 logger="control" rule_set="a\"b\]c\\d"] refused"#)
  }

  @Test("Hostile texts stay inside their field, within one datagram", arguments: hostileTexts)
  func hostile(_ text: String) throws {
    let record = LogsTests.record("\(text)", [text: "\(text)", "k": "\(text)"], label: String(text.prefix(200)))
    let bytes = SyslogDestination.datagram(record, program: "a b", hostName: "h", process: 1)
    let line = String(decoding: bytes, as: UTF8.self)
    #expect(bytes.count <= SyslogDestination.datagramByteCountMax)
    #expect(line.hasPrefix("<30>1 2026-11-21T03:04:05.678901Z h a_b 1 - [sluice@32473 logger=\""))
    // Only the mark of UTF-8 in front of the message.
    #expect(line.unicodeScalars.filter(SafeText.isHostile).allSatisfy { $0 == "\u{feff}" })
  }

  @Test("Where nobody listens records are counted as lost")
  func nobody() throws {
    let port = try Receiver(udp: ()).port
    let syslog = try SyslogDestination(program: "p", address: "127.0.0.1:\(port)")
    let deadline = ContinuousClock.now + .seconds(10)
    while syslog.droppedCount == 0, ContinuousClock.now < deadline { syslog.write(LogsTests.record("lost")) }
    #expect(syslog.droppedCount > 0)
  }

  @Test("No way to the server is no error: records are counted as lost")
  func noRoute() throws {
    let syslog = try SyslogDestination(program: "p", address: "no-such-host.invalid:514")
    for _ in 0..<3 { syslog.write(LogsTests.record("lost")) }
    #expect(syslog.droppedCount == 3)
  }

  @Test(
    "Addresses",
    arguments: [
      ("192.0.2.1:5140", "192.0.2.1", 5140), ("[::1]:514", "::1", 514), ("log.example", "log.example", 514),
      ("[2001:db8::1]", "2001:db8::1", 514),
    ] as [(String, String, UInt16)])
  func address(_ text: String, _ host: String, _ port: UInt16) throws {
    let parsed = try SyslogDestination.parse(text)
    #expect(parsed.host == host)
    #expect(parsed.port == port)
  }

  @Test(
    "What is no address is refused",
    arguments: ["", ":514", "h:", "h:0", "h:70000", "h:-1", "::1", "[::1", "[::1]x", "h o:1", "h:1:2", "h\n:1"])
  func badAddress(_ text: String) {
    #expect(throws: LogError.self) { try SyslogDestination.parse(text) }
  }
}

@Suite("Setting logging up")
struct BootstrapTests {
  @Test(
    "-v makes more of the settings' level, never less",
    arguments: [
      (0, Logger.Level.notice, Logger.Level.notice), (1, .notice, .info), (2, .notice, .debug), (3, .notice, .trace),
      (9, .notice, .trace), (0, .error, .error), (0, .critical, .critical), (1, .error, .info), (1, .debug, .debug),
    ])
  func verbosity(_ count: Int, _ setting: Logger.Level, _ level: Logger.Level) {
    #expect(LogOptions.level(setting, verbosity: count) == level)
  }

  @Test("A logger keeps quiet below its level and passes metadata from near to far")
  func levels() throws {
    let output = try written { descriptor in
      let bootstrap = LogBootstrap(
        destinations: [ConsoleDestination(format: .human, descriptor: descriptor)], level: .notice)
      var logger = bootstrap.logger("l")
      logger[metadataKey: "a"] = "far"
      logger[metadataKey: "b"] = "far"
      logger.info("quiet")
      logger.notice("loud", metadata: ["b": "near"])
    }
    #expect(output.split(separator: "\n").count == 1)
    #expect(output.hasSuffix(" NOTICE l: loud a=far b=near\n"))
  }

  @Test("Automatic is the console outside of systemd, and syslog joins it")
  func automatic() throws {
    let receiver = try Receiver(udp: ())
    let options = LogOptions(program: "p", syslog: "127.0.0.1:\(receiver.port)")
    #expect(try LogBootstrap(options, journalStream: nil).destinations.map(\.name) == ["console", "syslog"])
    #expect(try LogBootstrap(options, journalStream: "1:1").droppedCounts.map(\.count) == [0, 0])
  }

  @Test("A server that cannot be is an error that says so")
  func badServer() {
    let options = LogOptions(program: "p", syslog: "no.such.host.invalid:port")
    let error = #expect(throws: LogError.self) { try LogBootstrap(options, journalStream: nil) }
    #expect(error?.description.contains("no.such.host.invalid") == true)
  }
}

@Suite("A console whose reader is stuck", .timeLimit(.minutes(1)))
struct StuckConsoleTests {
  @Test("Nobody waits for it; what it missed is counted, and lines are whole when it goes on")
  func stuck() throws {
    var ends: [Int32] = [0, 0]
    try #require(pipe(&ends) == 0)
    let (reader, writer) = (FileHandle(fileDescriptor: ends[0], closeOnDealloc: true), ends[1])
    let console = ConsoleDestination(format: .human, descriptor: writer)
    let long = String(repeating: "x", count: 10_000)
    let begin = ContinuousClock.now
    for number in 0..<100 { console.write(LogsTests.record("\(number) \(long)")) }
    let elapsed = ContinuousClock.now - begin
    let lost = console.droppedCount
    #expect(lost > 80 && lost < 100, "a pipe takes 64 KiB")
    #expect(elapsed < .seconds(5), "a hundred records waited for each other: \(elapsed)")

    var text = Data()
    text += reader.availableData
    console.write(LogsTests.record("afterwards"))
    #expect(console.droppedCount == lost)
    close(writer)
    text += try reader.readToEnd() ?? Data()
    let lines = String(decoding: text, as: UTF8.self).split(separator: "\n")
    #expect(lines.last?.hasSuffix("afterwards") == true)
    #expect(UInt64(lines.count { $0.hasSuffix(long) || $0.hasSuffix("afterwards") }) == 101 - lost)
  }
}
