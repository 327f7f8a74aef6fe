import Foundation
import HTTPTypes
import Hummingbird
import NIOCore
import Packets
import Rules
import Synchronization

/// A body of lines, `text/plain`, read while it comes: what is held of it is what was understood, and the line at hand.
struct LineBody: Sendable {
  static let contentType = "text/plain"
  /// Bytes of a line.
  static let lineBytesMax = 4096
  /// That nothing comes for so long, and that all of it takes so long.
  static let pauseSecondsMax = 30
  static let secondsMax = 600

  private let body: RequestBody
  private let bytesMax: Int

  /// Nil: the request brings something else.
  init?(_ request: Request, bytesMax: Int) throws {
    guard let type = request.headers[.contentType].flatMap(MediaType.init(from:)), type.type == .text,
      type.subType == "plain"
    else { return nil }
    if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > bytesMax {
      throw APIError.bodyTooLarge(bytesMax: bytesMax)
    }
    body = request.body
    self.bytesMax = bytesMax
  }

  /// Elements of a set, with commas between those of one line; behind one may stand when it ends, and behind `#` whatever.
  /// Each line that is wrong is named by its number, the first of them at most.
  func members(of kind: NamedSet.Kind) async throws -> [SetMember] {
    let progress = Progress()
    let members = try await withThrowingTaskGroup(of: [SetMember]?.self) { group in
      group.addTask { try await read(kind, progress) }
      group.addTask {
        try await progress.watch()
        return nil
      }
      defer { group.cancelAll() }
      return try await group.next() ?? nil
    }
    guard let members else {
      throw APIError(
        .requestTimeout, "the body did not arrive: nothing came for \(Self.pauseSecondsMax) s, or not all in \(Self.secondsMax) s",
        headers: [.connection: "close"])
    }
    return members
  }

  private func read(_ kind: NamedSet.Kind, _ progress: Progress) async throws -> [SetMember] {
    var reader = MemberLines(kind: kind)
    var byteCount = 0
    for try await buffer in body {
      progress.note()
      byteCount += buffer.readableBytes
      guard byteCount <= bytesMax else { throw APIError.bodyTooLarge(bytesMax: bytesMax) }
      try reader.read(buffer.readableBytesView)
    }
    return try reader.finish()
  }

  /// Whether bytes still come.
  private final class Progress: Sendable {
    private let last = Mutex(ContinuousClock.now)

    func note() { last.withLock { $0 = .now } }

    /// Returns once it took too long.
    func watch() async throws {
      let end = ContinuousClock.now + .seconds(LineBody.secondsMax)
      while true {
        let due = min(last.withLock { $0 } + .seconds(LineBody.pauseSecondsMax), end)
        if due <= .now { return }
        try await Task.sleep(until: due, clock: .continuous)
      }
    }
  }
}

/// Puts lines together from what comes, and reads them.
struct MemberLines {
  private let kind: NamedSet.Kind
  private var members: [SetMember] = []
  /// What came of the line at hand.
  private var line: [UInt8] = []
  private var number = 1
  private var problems: [Problem] = []

  init(kind: NamedSet.Kind) { self.kind = kind }

  mutating func read(_ bytes: some Collection<UInt8>) throws {
    var rest = bytes[...]
    while let end = rest.firstIndex(of: 0x0a) {
      try take(rest[..<end])
      try endLine()
      rest = rest[rest.index(after: end)...]
    }
    try take(rest)
  }

  private mutating func take(_ bytes: some Collection<UInt8>) throws {
    guard line.count + bytes.count <= LineBody.lineBytesMax else {
      throw APIError.validation("line \(number)", "too_long", "has more than \(LineBody.lineBytesMax) bytes")
    }
    line += bytes
  }

  mutating func finish() throws -> [SetMember] {
    try endLine()
    guard problems.isEmpty else { throw APIError.validation(problems) }
    return members
  }

  private mutating func endLine() throws {
    defer {
      line.removeAll(keepingCapacity: true)
      number += 1
    }
    if number == 1 { line.removeFirst(RuleSetText.byteOrderMarkByteCount(at: line)) }
    for part in line.prefix(while: { $0 != 0x23 }).split(separator: 0x2c, omittingEmptySubsequences: true) {
      guard let first = part.firstIndex(where: { !Self.isBlank($0) }), let last = part.lastIndex(where: { !Self.isBlank($0) })
      else { continue }
      guard members.count < Limits.setElementsMax else {
        throw APIError.validation("line \(number)", "too_many", "a set has at most \(Limits.setElementsMax) elements")
      }
      do throws(ValueTextError) {
        members.append(try SetMember(parsing: String(decoding: part[first...last], as: UTF8.self), for: kind))
      } catch {
        problems.append(Problem(path: "line \(number)", code: "invalid", message: error.description))
        // The first of them tell enough: the rest isn't read.
        if problems.count == Limits.issuesMax { throw APIError.validation(problems) }
      }
    }
  }

  /// A blank, a tab, or the carriage return of other systems' lines.
  private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0d }
}
