import ArgumentParser
import Audit
import Foundation

struct AuditCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "audit", abstract: "Who changed what, from where, and the proof that the record of it is whole.",
    discussion: """
      Every change through the API and every refusal is a record. Each record holds the hash of the one before it, so \
      that none can be changed, removed or put in between without `verify` naming it. Needs the scope audit:read.

      Whoever owns the database could write the whole log anew. To notice that, too, keep the head that `verify` \
      prints (SEQUENCE:HASH) somewhere else and give it to a later `verify --anchor`.
      """,
    subcommands: [List.self, Verify.self, Export.self])

  /// Which records.
  struct Filter: ParsableArguments {
    @Option(help: "Only what this account or client did: its address, name or id.")
    var actor: String?
    @Option(help: "Only this operation, such as updateRuleSet: the operationId in /api/v1/openapi.json.")
    var operation: String?
    @Option(help: "Only with this outcome. (succeeded, refused, failed)")
    var outcome: String?
    @Option(help: "Only about this: KIND or KIND/ID, for example user or rule_set/ID.")
    var subject: String?
    @Option(help: "Only of this request, by its X-Request-Id.")
    var requestID: String?
    @Option(help: "Only from this address.")
    var address: String?
    @Option(help: "Not before this time, for example 2026-01-31T12:00:00Z.")
    var since: String?
    @Option(help: "Before this time.")
    var until: String?

    var query: [(String, String)] {
      let parts = subject?.split(separator: "/", maxSplits: 1).map(String.init) ?? []
      let all: [(String, String?)] = [
        ("actor", actor), ("operation", operation), ("outcome", outcome), ("subject_kind", parts.first),
        ("subject_id", parts.count > 1 ? parts[1] : nil), ("request_id", requestID), ("address", address),
        ("since", since), ("until", until),
      ]
      return all.compactMap { name, value in value.map { (name, $0) } }
    }
  }

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Records, newest first.",
      discussion: """
        EXAMPLES
          sluice audit list --outcome refused --since 2026-01-31T00:00:00Z
          sluice audit list --actor ops@example.org --subject rule_set --json
        """)
    @OptionGroup var filter: Filter
    @Option(help: "Records at most, 1 to 100000.")
    var limit = 50
    @OptionGroup var order: SortOptions
    @OptionGroup var options: APIOptions

    func run() async throws {
      guard (1...100_000).contains(limit) else { throw CommandError.usage("--limit is 1 to 100000") }
      try await options.withAPI { api in
        let records = try await api.list("/audit-log", query: filter.query + order.query, max: limit)
        var table = Table(">RECORD", "AT", "WHO", "FROM", "OPERATION", "OUTCOME", "ABOUT")
        for record in records {
          let outcome = record["code"] == .null ? record["outcome"].cell : record["code"].cell
          let actor = record["actor"]
          table.add(
            record["sequence"].cell, record["at"].cell,
            actor["name"].cell.isEmpty ? actor["kind"].cell : actor["name"].cell, record["address"].cell,
            record["operation"].cell, outcome, Self.about(record))
        }
        options.output.write(.array(records), table.text)
      }
    }

    /// The name says more than the id.
    private static func about(_ record: JSON) -> String {
      let subject = record["subject"]
      guard subject != .null else { return "" }
      let state = record["after"].object == nil ? record["before"] : record["after"]
      let name = state["name"].string ?? state["email"].string ?? state["interface"].string ?? subject["id"].cell
      return "\(subject["kind"].cell) \(name.isEmpty ? subject["id"].cell : name)"
    }
  }

  struct Verify: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Prove that no record was changed, removed or put in between.",
      discussion: """
        Fetches every record and computes the chain here, or does so with a file of `sluice audit export`, offline. \
        Prints the head, or names the first broken record.

        EXAMPLES
          sluice audit verify
          sluice audit verify --anchor 1204:5f0c… --json
          sluice audit verify --file audit.jsonl

        EXIT STATUS
          0 the log is whole   1 it is broken (code chain_broken)   2 wrong usage or no such file
          3 to 7 as `sluice --help`
        """)
    @Option(
      help: """
        A file of `sluice audit export`; "-" is standard input. One that begins later than the log needs the record \
        before it as --anchor.
        """)
    var file: String?
    @Option(help: "SEQUENCE:HASH that an earlier verify printed: the log must still have it. Can be repeated.")
    var anchor: [String] = []
    @OptionGroup var options: APIOptions

    func run() async throws {
      let anchors = try anchor.map { text throws(CommandError) in
        guard let anchor = AuditAnchor(text) else { throw .usage("\"\(text)\" is no SEQUENCE:HASH of a verified head") }
        return anchor
      }
      var verifier = AuditVerifier(anchors: anchors)
      do {
        if let file {
          try AuditFile.read(file) { try verifier.check($0) }
          try verifier.finish()
        } else {
          try await options.withAPI { api in
            do { try await AuditLog.verify(api, &verifier) } catch is AuditFault {
              // Retention takes records away from the start, also between two pages: once more before it is called broken.
              verifier = AuditVerifier(anchors: anchors)
              try await AuditLog.verify(api, &verifier)
            }
          }
        }
      } catch let fault as AuditFault {
        throw CommandError(
          .failure, "chain_broken", "the audit log is broken: \(fault)", details: ["record": .count(fault.sequence)])
      }
      guard let head = verifier.head else {
        options.output.write(["records": 0, "head": .null], "the audit log is empty")
        return
      }
      options.output.write(
        ["records": .count(verifier.count), "head": ["sequence": .count(head.sequence), "hash": .string(head.hash)]],
        "\(verifier.count) records, the log is whole\nhead: \(head)")
    }
  }

  struct Export: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Write records as JSON lines, oldest first.",
      discussion: """
        One record a line, as `verify --file` reads them. With a filter the chain has gaps, and cannot be verified.

        EXAMPLES
          sluice audit export --output audit.jsonl
          sluice audit export --after 1204 | gzip > audit-1205.jsonl.gz
        """)
    @OptionGroup var filter: Filter
    @Option(help: "Only records behind this one.")
    var after: UInt64 = 0
    @Option(name: .shortAndLong, help: "The file to write; it must not exist. Without it: standard output.")
    var output: String?
    @OptionGroup var options: APIOptions

    func run() async throws {
      let query = filter.query
      try await options.withAPI { api in
        let file = try output.map(AuditFile.create)
        var count = 0
        var last: Int64?
        do {
          try await AuditLog.forEach(api, after: after, query: query) { record in
            let sequence = record["sequence"].integer
            if query.isEmpty, let last, sequence != last + 1 {
              throw CommandError(
                .failure, "incomplete", "retention removed the records behind \(last) while they were exported: export again")
            }
            last = sequence
            let line = record.bytes() + [0x0a]
            if let file { try file.write(contentsOf: Data(line)) } else { Terminal.write(line) }
            count += 1
          }
          try file?.synchronize()
        } catch {
          // So that the next try can make the file.
          if let output, count == 0 { unlink(output) }
          throw error
        }
        if let output {
          options.output.write(["records": .count(count)], "\(count) records written to \(Terminal.safe(output))")
        }
      }
    }
  }
}

/// The audit log behind the API, page by page.
enum AuditLog {
  private static let pageSize = 1000

  /// Records in order of their sequence, oldest first; ends at `through`.
  static func forEach(
    _ api: APIClient, after start: UInt64 = 0, through: UInt64 = .max, query: [(String, String)] = [],
    _ body: (JSON) throws -> Void
  ) async throws {
    var after = start
    while after < through {
      let page = query + [("order", "asc"), ("after", "\(after)"), ("limit", "\(pageSize)")]
      let records = try await api.call(.get, "/audit-log", query: page)["data"].elements
      for record in records {
        let sequence = UInt64(clamping: record["sequence"].integer ?? 0)
        if sequence > through { return }
        try body(record)
        guard sequence > after else {
          throw CommandError(.failure, "bad_answer", "the API repeats record \(sequence) of the audit log")
        }
        after = sequence
      }
      if records.count < pageSize { return }
    }
  }

  /// As far as the log went when this began.
  static func verify(_ api: APIClient, _ verifier: inout AuditVerifier) async throws {
    let data = try await api.call(.get, "/audit-log/head")["data"]
    let head = AuditAnchor(sequence: UInt64(clamping: data["sequence"].integer ?? 0), hash: data["hash"].cell)
    try await forEach(api, through: head.sequence) { try verifier.check($0) }
    try verifier.finish(end: head)
  }
}

/// A file of JSON lines.
enum AuditFile {
  private static let chunkByteCount = 1 << 20
  /// A record is far smaller: what is longer is no audit log.
  private static let lineByteCountMax = 1 << 20

  static func create(_ path: String) throws(CommandError) -> FileHandle {
    let descriptor = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      throw .usage("cannot write \(path): \(String(cString: strerror(errno)))")
    }
    return FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
  }

  /// Each line's value; an empty last line is none. Reads in pieces: a log may be larger than the memory.
  static func read(_ path: String, _ body: (JSON) throws -> Void) throws {
    guard let handle = path == "-" ? FileHandle.standardInput : FileHandle(forReadingAtPath: path) else {
      throw CommandError.usage("cannot read \(path): \(String(cString: strerror(errno)))")
    }
    var rest: [UInt8] = []
    var number = 0
    func take(_ line: ArraySlice<UInt8>) throws {
      number += 1
      guard let value = JSON.parse(line) else {
        throw CommandError(.failure, "chain_broken", "line \(number) of \(path) is not JSON")
      }
      try body(value)
    }
    while let chunk = try handle.read(upToCount: chunkByteCount), !chunk.isEmpty {
      rest += chunk
      var start = 0
      while let end = rest[start...].firstIndex(of: 0x0a) {
        try take(rest[start..<end])
        start = end + 1
      }
      rest.removeFirst(start)
      guard rest.count <= lineByteCountMax else {
        throw CommandError(.failure, "chain_broken", "line \(number + 1) of \(path) is longer than a record can be")
      }
    }
    if !rest.isEmpty { try take(rest[...]) }
  }
}
