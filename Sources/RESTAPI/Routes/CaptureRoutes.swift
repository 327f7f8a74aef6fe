import ControlProtocol
import Foundation
import Hummingbird
import Rules
import Storage

/// Captures: run by the daemons, remembered in the database.
enum CaptureRoutes {
  private static let base = RouteTable.base + "/captures"

  static let all: [Route] = [
    Route(
      .get, base, "listCaptures", tag: "captures", "All captures, newest first.", access: .scope(.capturesRead), on: .anything,
      query: [
        .optional("node", Shapes.name), .optional("interface", Shapes.interface),
        .optional("state", .words(CaptureState.allCases.map(\.rawValue))),
      ], answer: .page(capture, by: .captures), handler: list),
    Route(
      .post, base, "startCapture", tag: "captures", "Start a capture of what capture rules catch.",
      access: .scope(.capturesWrite), on: .interfaceInBody, body: newCapture, answer: .created(capture),
      errors: [.notFound] + NodeRoutes.daemonErrors, handler: start),
    Route(
      .post, base + "/stream", "streamCapture", tag: "captures",
      "Start a capture whose pcapng file is the answer, while it comes into being; it ends when the caller leaves.",
      access: .scope(.capturesWrite), on: .interfaceInBody, body: newStream, answer: .text(contentType: CaptureStreamRoute.contentType),
      errors: [.notFound] + NodeRoutes.daemonErrors, handler: CaptureStreamRoute.start),
    Route(
      .get, base + "/{id}", "getCapture", tag: "captures", "One capture.", access: .scope(.capturesRead), on: .capture("id"),
      answer: .data(capture)
    ) { call, services in
      let stored = try await services.store.capture(id: try call.identifier("id", of: "capture"))
      let (fresh, warnings) = try await refreshed([stored], services)
      return .data(json(fresh[0]), warnings: warnings)
    },
    Route(
      .post, base + "/{id}/stop", "stopCapture", tag: "captures",
      "Stop a capture; one that has ended stays as it is.", access: .scope(.capturesWrite), on: .capture("id"), answer: .data(capture),
      errors: NodeRoutes.daemonErrors, handler: stop),
  ]

  // MARK: Shapes

  private static func number(_ name: String, max: Int64, _ note: String) -> Field {
    .optional(name, .integer(0...max), default: 0, note)
  }

  /// A name without a directory: the daemon decides where captures lie.
  private static let fileName = Schema.string(
    StringShape(bytes: 1...128, pattern: "^[A-Za-z0-9_][A-Za-z0-9._-]*$") { text in
      let isPlain = text.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
          UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
          true
        default: false
        }
      }
      return isPlain && !text.hasPrefix(".") && !text.hasPrefix("-")
        ? nil : "must be a plain file name in the daemon's capture directory: letters, digits, '.', '_', '-'"
    })

  private static let limits: [Field] = [
    .optional("path", .nullable(fileName), "File name; the daemon chooses where absent"),
    number("snap_length", max: 262_144, "Bytes kept of each packet; 0: all"),
    number("sample_every", max: Int64(UInt32.max), "Write one of so many; 0 and 1: all"),
    number("packet_limit", max: Int64.max, "Stop after so many packets; 0: no limit"),
    number("byte_limit", max: Int64.max, "Stop after so many bytes; 0: no limit"),
    number("duration_ms", max: 31 * 86_400_000, "Stop after this time; 0: no limit"),
    number(
      "file_byte_limit", max: Int64.max,
      "Next file after so many bytes, with file_count; without it the capture ends there. 0: one file"),
    number("file_count", max: 10_000, "Files kept"),
    .optional(
      "rules", .array(Shapes.name, max: Limits.elementsPerFieldMax), default: [], "Only these rules; empty: all"),
  ]

  private static let newCapture = Schema.named(
    "NewCapture",
    .object([.optional("node", Shapes.name, default: "local"), .required("interface", Shapes.interface)] + limits))

  private static let newStream = Schema.named(
    "NewCaptureStream",
    .object(
      [.optional("node", Shapes.name, default: "local"), .required("interface", Shapes.interface)]
        + limits.filter { !["path", "file_byte_limit", "file_count"].contains($0.name) }))

  private static let capture = Schema.named(
    "Capture",
    .object(
      [
        .required("id", Shapes.uuid), .required("node", .string()), .required("interface", .string()),
        .required("daemon_id", .string()), .required("state", .words(CaptureState.allCases.map(\.rawValue))),
        .required("error", .string()), .required("packets_received", .count), .required("packets_written", .count),
        .required("packets_sampled_out", .count), .required("packets_filtered_out", .count),
        .required("packets_dropped", .count),
        .required("packets_lost_by_kernel", .count, "Not among those received: the sockets' rings were full"),
        .required("bytes_written", .count),
        .required("files", .array(.string(), max: Int.max)), .required("started_by", Shapes.author),
        .required("started_at", .timestamp), .required("finished_at", .nullable(.timestamp)),
      ] + limits.map { Field.required($0.name, $0.schema) }))

  private static func json(_ record: CaptureRecord) -> JSONValue {
    let (request, progress) = (record.request, record.progress)
    return [
      "id": .string(record.id.uuidString.lowercased()), "node": .string(record.node),
      "interface": .string(record.interface), "daemon_id": .string(record.daemonID),
      "state": .string(progress.state.rawValue), "error": .string(progress.error),
      "packets_received": .count(progress.packetsReceived), "packets_written": .count(progress.packetsWritten),
      "packets_sampled_out": .count(progress.packetsSampledOut),
      "packets_filtered_out": .count(progress.packetsFilteredOut), "packets_dropped": .count(progress.packetsDropped),
      "packets_lost_by_kernel": .count(progress.packetsLostByKernel), "bytes_written": .count(progress.bytesWritten),
      "files": .strings(progress.files),
      "started_by": [
        "user_id": .optional(record.startedBy.userID?.uuidString.lowercased()),
        "email": .string(record.startedBy.email),
      ],
      "started_at": .time(record.startedAt), "finished_at": .time(record.finishedAt), "path": .optional(request.path),
      "snap_length": .count(request.snapLength), "sample_every": .count(request.sampleEvery),
      "packet_limit": .count(request.packetLimit), "byte_limit": .count(request.byteLimit),
      "duration_ms": .count(request.durationMilliseconds), "file_byte_limit": .count(request.fileByteLimit),
      "file_count": .count(request.fileCount), "rules": .strings(request.rules),
    ]
  }

  static func request(_ body: JSONValue) -> CaptureRequest {
    func number(_ name: String) -> UInt64 { UInt64(body[name]?.integer ?? 0) }
    return CaptureRequest(
      path: body.present("path")?.string, snapLength: UInt32(number("snap_length")),
      sampleEvery: UInt32(number("sample_every")), packetLimit: number("packet_limit"),
      byteLimit: number("byte_limit"), durationMilliseconds: number("duration_ms"),
      fileByteLimit: number("file_byte_limit"), fileCount: UInt32(number("file_count")), rules: body.texts("rules"))
  }

  // MARK: Handlers

  @Sendable private static func start(_ call: Call, _ services: Services) async throws -> Reply {
    let node = try await services.store.node(named: try call.body.text("node"))
    let interface = try call.body.text("interface")
    let request = request(call.body)
    let running = try await services.nodes.startCapture(node, interface: interface, request)
    do {
      let stored = try await services.store.createCapture(
        NewCapture(
          node: node.name, interface: interface, daemonID: running.id, request: request,
          progress: CaptureProgress(running), startedBy: try call.author(), startedAt: running.startedAt))
      return .created(json(stored), at: "\(base)/\(stored.id.uuidString.lowercased())")
    } catch {
      // What isn't in the history must not run unseen.
      _ = try? await services.nodes.stopCapture(node, id: running.id)
      throw error
    }
  }

  @Sendable private static func stop(_ call: Call, _ services: Services) async throws -> Reply {
    let stored = try await services.store.capture(id: try call.identifier("id", of: "capture"))
    guard stored.progress.state == .running else { return .data(json(stored)) }
    let node = try await services.store.node(named: stored.node)
    let stopped: Sluice_Control_V1_Capture
    do throws(NodeCallError) { stopped = try await services.nodes.stopCapture(node, id: stored.daemonID) } catch {
      guard error.isNotFound else { throw error }
      return .data(json(try await lost(stored, services)))
    }
    return .data(json(try await updated(stored, stopped, services)))
  }

  @Sendable private static func list(_ call: Call, _ services: Services) async throws -> Reply {
    var filter = CaptureFilter(
      node: call.query["node"]?.string, interface: call.query["interface"]?.string,
      state: call.query["state"]?.string.flatMap(CaptureState.init))
    filter.among = try await visible(call, services)
    let page = call.page
    let stored = try await services.store.captures(filter, page)
    let (fresh, warnings) = try await refreshed(stored.items, services)
    return Reply(.page(fresh.map(json), PageInfo(page, stored)), warnings: warnings)
  }

  /// Where the caller may see captures; nil: everywhere.
  private static func visible(_ call: Call, _ services: Services) async throws -> CaptureFilter.Places? {
    guard let places = try AttachmentRoutes.visible(.capturesRead, call) else { return nil }
    var filter = AttachmentFilter()
    filter.among = .init(attachments: places.attachments, nodes: [])
    let nodes = try await everything { try await services.store.nodes(among: places.nodes, $0) }.map(\.name)
    let interfaces = try await everything { [filter] in try await services.store.attachments(filter, $0) }
      .map { "\($0.node)/\($0.interface)" }
    return .init(nodes: Set(nodes), interfaces: Set(interfaces))
  }

  /// Running captures as their daemons report them now. A daemon that cannot be asked leaves a warning.
  private static func refreshed(
    _ records: [CaptureRecord], _ services: Services
  ) async throws -> ([CaptureRecord], warnings: [String]) {
    var fresh = records
    var warnings: [String] = []
    var reports: [String: [String: Sluice_Control_V1_Capture]] = [:]
    for name in Set(records.filter { $0.progress.state == .running }.map(\.node)).sorted() {
      do {
        let captures = try await services.nodes.captures(try await services.store.node(named: name))
        reports[name] = Dictionary(captures.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
      } catch let error as NodeCallError {
        warnings.append("progress not up to date: \(error.apiError.message)")
      } catch StorageError.notFound {
        warnings.append("progress not up to date: the node '\(name)' is gone")
      }
    }
    for index in fresh.indices where fresh[index].progress.state == .running {
      guard let report = reports[fresh[index].node] else { continue }
      do {
        if let capture = report[fresh[index].daemonID] {
          fresh[index] = try await updated(fresh[index], capture, services)
        } else {
          fresh[index] = try await lost(fresh[index], services)
        }
      } catch let error as NodeCallError {
        warnings.append("progress not up to date: \(error.apiError.message)")
      }
    }
    return (fresh, warnings)
  }

  private static func updated(
    _ record: CaptureRecord, _ capture: Sluice_Control_V1_Capture, _ services: Services
  ) async throws -> CaptureRecord {
    let progress = CaptureProgress(capture)
    let finishedAt: Date? = progress.state == .running ? nil : capture.finishedAt
    guard progress != record.progress else { return record }
    return try await services.store.updateCapture(id: record.id, progress, finishedAt: finishedAt)
  }

  /// The daemon doesn't know it any more: it has started anew since, or it has had many captures since.
  private static func lost(_ record: CaptureRecord, _ services: Services) async throws -> CaptureRecord {
    let status = try await services.nodes.status(try await services.store.node(named: record.node))
    var progress = record.progress
    if record.startedAt.timeIntervalSince1970 * 1e9 > Double(status.startedAtUnixNanos) {
      progress.state = .finished
      progress.error = "the daemon keeps its report no longer: the counts are those of an earlier look"
    } else {
      progress.state = .failed
      progress.error = "the daemon does not know this capture any more; it was restarted"
    }
    return try await services.store.updateCapture(id: record.id, progress, finishedAt: Date())
  }
}

extension Sluice_Control_V1_Capture {
  fileprivate var startedAt: Date { Date(timeIntervalSince1970: Double(startedAtUnixNanos) / 1e9) }
  fileprivate var finishedAt: Date {
    finishedAtUnixNanos == 0 ? Date() : Date(timeIntervalSince1970: Double(finishedAtUnixNanos) / 1e9)
  }
}
