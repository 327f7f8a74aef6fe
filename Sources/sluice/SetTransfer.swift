import ArgumentParser
import AsyncHTTPClient
import Foundation
import NIOCore
import Synchronization

extension SetCommand {
  struct Import: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Replace all elements by those of a file, as large as it may be: one revision.",
      discussion: """
        One element in a line, or some with commas between; behind one may stand when it ends; # begins a comment. The file \
        is sent while it is read, and a line that is wrong is named by its number: nothing has changed then. What there is \
        already isn't sent to the daemons again.

        EXAMPLES
          sluice set import edge blocked today.txt --apply
          zcat today.gz | sluice set import edge blocked - --apply
        """)
    @OptionGroup var target: Target
    @Argument(help: "The file; - is standard input.")
    var file: String
    @Flag(help: "Change what is live, too.")
    var apply = false
    @Flag(help: "Also where the file has no elements: the set is empty then.")
    var empty = false
    @OptionGroup var options: APIOptions

    func run() async throws {
      let source = try PieceReader(file)
      guard empty || source.hasElements else {
        throw CommandError.usage("\(InputFile.name(file)) has no elements; --empty empties the set")
      }
      let progress = TransferProgress(of: source.byteCount, options.output)
      try await options.withAPI(silenceMax: .seconds(APIClient.uploadSecondsMax)) { api in
        let answer = try await api.upload(
          .put, target.path + "/elements", query: apply ? [("apply", "true")] : [],
          contentType: "text/plain", pieces: source, progress)["data"]
        target.tell(answer, "changed", isApplied: apply, options.output)
      }
    }
  }

  struct Export: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "All elements of a set on standard output, one in a line, as `set import` reads them.")
    @OptionGroup var target: Target
    @OptionGroup var options: APIOptions

    func run() async throws {
      var array = options.output.isJSON ? JSONLines() : nil
      try await options.withAPI(silenceMax: nil) { api in
        try await api.download(
          .get, target.path + "/elements", headers: [("Accept", "text/plain")]
        ) { Terminal.write(array?.read($0) ?? Array($0)) }
      }
      if let end = array?.end { Terminal.write(end) }
    }
  }
}

/// Lines as a JSON array of strings, one in a line, written as they come.
struct JSONLines {
  private var line: [UInt8] = []
  private var isEmpty = true

  mutating func read(_ bytes: some Sequence<UInt8>) -> [UInt8] {
    var text: [UInt8] = []
    for byte in bytes {
      guard byte == 0x0a else {
        line.append(byte)
        continue
      }
      text += Array((isEmpty ? "[\n" : ",\n").utf8) + JSON.string(String(decoding: line, as: UTF8.self)).bytes()
      line.removeAll(keepingCapacity: true)
      isEmpty = false
    }
    return text
  }

  /// What ends the array.
  var end: [UInt8] { Array((isEmpty ? "[]\n" : "\n]\n").utf8) }
}

/// A file in pieces, read as they are asked for. It is read once.
struct PieceReader: AsyncSequence, Sendable {
  typealias Element = ByteBuffer
  static let pieceByteCount = 256 << 10

  private let handle: FileHandle
  private let path: String
  /// Nil: not known, as of a pipe.
  let byteCount: Int?
  /// What was read to see whether there are elements.
  private let first: [UInt8]
  /// Known of files that don't begin with a mebibyte of comments.
  let hasElements: Bool

  /// - Parameter path: `-`: standard input.
  init(_ path: String) throws(CommandError) {
    self.path = InputFile.name(path)
    if path == "-" {
      (handle, byteCount) = (.standardInput, nil)
    } else {
      do {
        handle = try FileHandle(forReadingFrom: URL(filePath: path))
      } catch {
        throw .usage("cannot read \(path): \(error.localizedDescription)")
      }
      let attributes = try? FileManager.default.attributesOfItem(atPath: path)
      byteCount = attributes?[.type] as? FileAttributeType == .typeRegular ? (attributes?[.size] as? NSNumber)?.intValue : nil
    }
    var first: [UInt8] = []
    var isOver = false
    while !isOver, first.count < 4 * PieceReader.pieceByteCount, SetCommand.Elements.words(first).isEmpty {
      let piece = try PieceReader.read(handle, self.path)
      isOver = piece == nil
      first += piece ?? []
    }
    self.first = first
    hasElements = !isOver
  }

  private static func read(_ handle: FileHandle, _ path: String) throws(CommandError) -> [UInt8]? {
    do {
      guard let piece = try handle.read(upToCount: pieceByteCount), !piece.isEmpty else { return nil }
      return Array(piece)
    } catch {
      throw .usage("cannot read \(path): \(error.localizedDescription)")
    }
  }

  func makeAsyncIterator() -> Iterator { Iterator(handle: handle, path: path, first: first) }

  struct Iterator: AsyncIteratorProtocol {
    let handle: FileHandle
    let path: String
    var first: [UInt8]

    mutating func next() async throws -> ByteBuffer? {
      if !first.isEmpty {
        defer { first = [] }
        return ByteBuffer(bytes: first)
      }
      return try PieceReader.read(handle, path).map { ByteBuffer(bytes: $0) }
    }
  }
}

/// Says on standard error how far a transfer is, twice a second at most; nothing where JSON is wanted.
final class TransferProgress: Sendable {
  private let total: Int?
  private let output: Output
  private let state = Mutex((byteCount: 0, told: ContinuousClock.now))

  init(of total: Int?, _ output: Output) { (self.total, self.output) = (total, output) }

  func add(_ byteCount: Int) {
    let text = state.withLock { state -> String? in
      state.byteCount += byteCount
      guard state.told.duration(to: .now) >= .milliseconds(500) || state.byteCount == total else { return nil }
      state.told = .now
      let sent = Quantity.short(Double(state.byteCount))
      return total.map { "sent \(sent) of \(Quantity.short(Double($0))) bytes" } ?? "sent \(sent) bytes"
    }
    if let text { output.note(text) }
  }
}

extension APIClient {
  /// Sends a body in pieces, for as long as it takes, and gives the answer's envelope.
  func upload(
    _ method: Method, _ path: String, query: [(String, String)], contentType: String, pieces: PieceReader,
    _ progress: TransferProgress
  ) async throws -> JSON {
    var request = try await authorized(method, path, query)
    request.headers.add(name: "Content-Type", value: contentType)
    let counted = pieces.map { piece in
      progress.add(piece.readableBytes)
      return piece
    }
    request.body = .stream(counted, length: pieces.byteCount.map { .known(Int64($0)) } ?? .unknown)
    let answer: (status: Int, body: JSON)
    do {
      let response = try await http.execute(request, timeout: .seconds(Self.uploadSecondsMax))
      let bytes = try await response.body.collect(upTo: Self.answerByteCountMax)
      answer = (Int(response.status.code), JSON.parse(bytes.readableBytesView) ?? .null)
    } catch {
      throw unavailable(error)
    }
    guard (200..<300).contains(answer.status) else {
      throw CommandError(httpStatus: answer.status, body: answer.body, apiURL: base)
    }
    return answer.body
  }

  static var uploadSecondsMax: Int64 { 660 }
}
