import LinuxSystem
import Logging
import Rules
import XDPPrograms

extension Controller {
  public var statistics: ControlStatistics {
    var statistics = counted
    statistics.capturesRunning = captures.running.count
    statistics.capture = captures.totals
    return statistics
  }

  public func attachmentReports() -> [AttachmentReport] {
    attachments.values.map(\.report).sorted { $0.interface < $1.interface }
  }

  public func interfaces() throws(ControlError) -> [InterfaceReport] {
    let all: [NetworkInterface]
    do throws(SystemError) { all = try NetworkInterface.all() } catch { throw ControlError(error) }
    return all.map { interface in
      let attachment = attachments[interface.name]
      let programIdentifier = interface.xdp?.programID ?? 0
      return InterfaceReport(
        name: interface.name, index: interface.index, mac: interface.mac, mtu: interface.mtu, isUp: interface.isUp,
        hasCarrier: interface.hasCarrier,
        receiveQueueCount: (try? interface.receiveQueueCount()) ?? interface.rxQueueCount,
        driver: ((try? interface.driver()) ?? nil) ?? interface.kind, numaNode: interface.numaNode(),
        foreignProgramIdentifier: attachment?.program.programIdentifier == programIdentifier ? 0 : programIdentifier,
        attachment: attachment?.report)
    }
  }

  /// - Parameter names: Attached interfaces; empty: all.
  public func counters(of names: [String]) throws(ControlError) -> [CountersReport] {
    var reports: [CountersReport] = []
    for name in names.isEmpty ? attachments.keys.sorted() : names {
      guard let attachment = attachments[name] else { throw notAttached(name) }
      reports.append(try attachment.counters())
    }
    return reports
  }

  /// Of all interfaces whose counters can be read now: one that can't be leaves the others in a scrape.
  public func readableCounters() -> [CountersReport] {
    attachments.values.sorted { $0.interface < $1.interface }.compactMap { attachment in
      do throws(ControlError) { return try attachment.counters() } catch {
        logger.warning("counters cannot be read", metadata: ["interface": "\(attachment.interface)", "error": "\(error)"])
        return nil
      }
    }
  }
}
